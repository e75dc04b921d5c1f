package peer

import (
	"bytes"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

func TestReceipt(t *testing.T) {
	for _, tt := range []struct {
		says, reads receipt
		bytes       []byte
	}{
		{receipt{age: 0}, receipt{age: 0}, []byte{0, 0, 0, 0}},
		{receipt{age: 1500 * time.Microsecond}, receipt{age: time.Millisecond}, []byte{0, 0, 0, 1}},
		{receipt{age: 258 * time.Millisecond, doubt: true}, receipt{age: 258 * time.Millisecond, doubt: true}, []byte{0x80, 0, 1, 2}},
		{receipt{age: -1}, receipt{age: -1}, []byte{0x7f, 0xff, 0xff, 0xff}},
		{receipt{age: -time.Hour, doubt: true}, receipt{age: -1, doubt: true}, []byte{0xff, 0xff, 0xff, 0xff}},
		{receipt{age: 1000 * time.Hour}, receipt{age: (receiptNever - 1) * time.Millisecond}, []byte{0x7f, 0xff, 0xff, 0xfe}},
	} {
		m := stun.MustBuild(stun.BindingRequest, tt.says)
		if want := append([]byte{0xc0, 0xde, 0, 4}, tt.bytes...); !bytes.Equal(m.Raw[stunHeader:], want) {
			t.Errorf("%+v is % x, want % x", tt.says, m.Raw[stunHeader:], want)
		}
		if !isCheckWith(m.Raw, attrReceipt) || isCheckWith(m.Raw, attrPadding) {
			t.Errorf("%+v is not told in place", tt.says)
		}
		var got receipt
		if err := got.GetFrom(m); err != nil || got != tt.reads {
			t.Errorf("% x is read as %+v, %v; want %+v", tt.bytes, got, err, tt.reads)
		}
	}
	for _, value := range [][]byte{nil, {1, 2, 3}, {1, 2, 3, 4, 5}} {
		m := stun.MustBuild(stun.BindingRequest)
		m.Add(attrReceipt, value)
		r := receipt{age: 7}
		if err := r.GetFrom(m); err == nil || r.age != 7 {
			t.Errorf("% x is read as %+v", value, r)
		}
	}
	if err := new(receipt).GetFrom(stun.MustBuild(stun.BindingRequest)); err == nil {
		t.Error("a receipt where there is none")
	}
}

// What is read of a message is a receipt that says the same when it is sent on.
func FuzzReceipt(f *testing.F) {
	f.Add(stun.MustBuild(stun.BindingRequest, receipt{age: 258 * time.Millisecond, doubt: true}).Raw)
	f.Add(stun.MustBuild(stun.BindingSuccess, receipt{age: -1}, stun.Fingerprint).Raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := stun.Message{Raw: b}
		if m.Decode() != nil {
			return
		}
		var r, again receipt
		if r.GetFrom(&m) != nil {
			return
		}
		if r.age < -1 || r.age > receiptNever*time.Millisecond {
			t.Fatalf("%+v is out of range", r)
		}
		if err := again.GetFrom(stun.MustBuild(stun.BindingRequest, r)); err != nil || again != r {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}
