package signaling

import (
	"bytes"
	"testing"
)

// TestJoinSignal: what is sealed passes as a join message, which is no other one, and
// an epoch is taken of the node alone that signed it.
func TestJoinSignal(t *testing.T) {
	x, y := newTestNode(t, "x", 1), newTestNode(t, "y", 2)
	notice := EpochNotice(x.self)
	sealed, ok := SplitJoinSignal(JoinSignal(notice))
	if !ok || !bytes.Equal(sealed, notice) || IsJoinAck(JoinSignal(notice)) {
		t.Fatal("it does not come back as it was")
	}
	epoch, ok := OpenEpochNotice(x.self.Network, x.self.Node.Public(), notice)
	if !ok || epoch != x.self.Epoch {
		t.Errorf("epoch %v, %v", epoch, ok)
	}
	if _, ok := OpenEpochNotice(x.self.Network, y.self.Node.Public(), notice); ok {
		t.Error("taken for another's")
	}
	for i := range notice {
		forged := bytes.Clone(notice)
		forged[i] ^= 1
		if _, ok := OpenEpochNotice(x.self.Network, x.self.Node.Public(), forged); ok {
			t.Errorf("taken with byte %d changed", i)
		}
	}
	for _, b := range [][]byte{nil, {joinSignal}, {joinAck, 1}, {joinRequest, 1}, {joinAnswer, 1}} {
		if _, ok := SplitJoinSignal(b); ok {
			t.Errorf("%v is taken for a sealed message", b)
		}
	}
}
