package e2e

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// memberLab is a hostileLab with a member that was admitted, and then turned.
type memberLab struct {
	*hostileLab
	mallory      *puppet
	keyA, keyB   config.NodeKey
	adminMallory signaling.Admin
}

func newMemberLab(t *testing.T) *memberLab {
	l := &memberLab{hostileLab: newHostileLab(t)}
	l.keyA, l.keyB = l.key(l.a).Public(), l.key(l.b).Public()
	l.mallory = newPuppet(t, l.ctx, l.place("public", "mallory"), l.invite(l.a), "a").joined(l.keyA, l.keyB)
	l.adminMallory = signaling.DelegateAdmin(l.network.Public(), l.mallory.self.Node)
	return l
}

// takesName: who asks for another's name gets another one.
func (l *memberLab) takesName(t *testing.T) {
	id := l.mallory.key().ID().String()
	if got := l.nodes(l.b)["a-2"].ID; got != id {
		t.Errorf("the machine that asked for the name a: %v", l.nodes(l.b))
	}
}

// statements is a note with them.
func statements(raw ...[]byte) []byte {
	note := []byte{3}
	for _, s := range raw {
		note = append(append(note, byte(len(s)>>8), byte(len(s))), s...)
	}
	return note
}

// rules: a plain member admits nobody, throws nobody out, and does not widen
// its own rights, neither by the hub nor from node to node.
func (l *memberLab) rules(t *testing.T) {
	victim := l.record(l.b)
	own := l.mallory.record.Record
	own.Sequence, own.Name, own.Tags = math.MaxUint64, "boss", []string{"admin"}
	all := append(everything(l.adminMallory, victim.Record), must(l.adminMallory.Record(own)).Bytes())
	before := l.counted(l.b, "statement")
	l.mallory.send(&signaling.Members{Statements: all})
	for _, s := range all {
		l.mallory.send(l.mallory.note(l.keyA, statements(s)))
		l.mallory.send(l.mallory.note(l.keyB, statements(s)))
	}
	l.warned(t, l.a, "statement", uint64(len(all)))
	l.warned(t, l.b, "statement", before+uint64(len(all)))
}

// babbles: notes that are nothing.
func (l *memberLab) babbles(t *testing.T) {
	for _, note := range [][]byte{{}, {0}, {9, 9}, {1}, {2, 1, 2}, {3, 0xff}, make([]byte, 9000)} {
		l.mallory.send(l.mallory.note(l.keyB, note))
	}
	for _, content := range []any{nil, 7, "x", []int{1}, map[string]any{"type": "note", "ack": -1}, map[string]any{"type": "candidates", "candidates": make([]string, 100)}} {
		l.mallory.send(l.mallory.seal(l.keyB, content))
	}
	l.warned(t, l.b, "note of a member", 3)
	l.warned(t, l.b, "sealed message", 2)
}

// busy is the processor time that a node's process has had.
func (l *hostileLab) busy(n *Node) time.Duration {
	l.t.Helper()
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		cmd, _ := os.ReadFile(path)
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(path), "stat"))
		if err != nil || !strings.Contains(string(cmd), n.State()+"\x00") {
			continue
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])) // proc(5): from the third on
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		return time.Duration(user+system) * 10 * time.Millisecond
	}
	l.t.Fatalf("%s does not run", n.Name)
	return 0
}

// floods sends b as much as goes for a second: by the hub, which limits it,
// or with its help.
func (l *memberLab) floods(t *testing.T, name string, colluding bool, make func() *signaling.Signal) {
	t.Helper()
	seat, before, start, sent := l.seat(l.b), l.busy(l.b), time.Now(), 0
	for ; time.Since(start) < time.Second; sent++ {
		m := make()
		if colluding {
			if err := seat.tell(m); err != nil {
				t.Fatal(err)
			}
		} else {
			l.mallory.send(m)
		}
	}
	took := time.Since(start)
	share := (l.busy(l.b) - before).Seconds() / took.Seconds()
	t.Logf("%s: %d a second; b uses %.0f%% of a processor", name, int(float64(sent)/took.Seconds()), 100*share)
}

func (l *memberLab) flood(t *testing.T) {
	have := append([]byte{2}, append(make([]byte, 8), 255, 255, 255, 255, 255, 255, 255, 255)...)
	for _, colluding := range []bool{true} {
		l.floods(t, "what it lacks", colluding, func() *signaling.Signal { return l.mallory.note(l.keyB, have) })
		l.floods(t, "garbage notes", colluding, func() *signaling.Signal { return l.mallory.note(l.keyB, []byte{3, 0, 100, 1}) })
		l.floods(t, "offers", colluding, func() *signaling.Signal { return l.mallory.offer(l.keyB) })
		l.floods(t, "garbage", colluding, func() *signaling.Signal {
			return &signaling.Signal{From: l.mallory.key(), To: l.keyB, Sealed: []byte{1, 2, 3}}
		})
	}
}
