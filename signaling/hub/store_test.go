package hub

import (
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

func openTestStore(t *testing.T) *boltStore {
	t.Helper()
	s, err := openState(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s.store
}

func TestStoreCompareAndSwap(t *testing.T) {
	s := openTestStore(t)
	network := config.NewNetworkKey().Public()
	put := func(revision uint64, value []byte) error {
		return s.Put(network, tableStatements, []Entry{{Key: []byte("k"), Value: value, Revision: revision}})
	}
	if err := put(0, []byte("a")); !errors.Is(err, errUnknown) {
		t.Fatalf("unknown network: %v", err)
	}
	if _, _, err := s.After(network, tableStatements, 0, 0); !errors.Is(err, errUnknown) {
		t.Fatalf("unknown network: %v", err)
	}
	if err := errors.Join(s.Create(network), s.Create(network)); err != nil {
		t.Fatal(err)
	}
	changes := 0
	stop := s.Watch(network, tableStatements, func() { changes++ })
	steps := []struct {
		revision uint64
		value    string
		want     error
	}{{1, "x", errConflict}, {0, "a", nil}, {0, "b", errConflict}, {1, "b", nil}, {1, "c", errConflict}, {2, "", nil}, {0, "d", nil}}
	for i, st := range steps {
		value := []byte(st.value)
		if st.value == "" {
			value = nil
		}
		if err := put(st.revision, value); !errors.Is(err, st.want) {
			t.Fatalf("step %d: got %v, want %v", i, err, st.want)
		}
	}
	if changes != 4 {
		t.Errorf("watch was called %d times, want 4", changes)
	}
	stop()
	stop()
	entries, last, err := s.After(network, tableStatements, 0, 0)
	if err != nil || last != 3 || len(entries) != 1 || string(entries[0].Value) != "d" || entries[0].Revision != 3 {
		t.Errorf("got %+v up to %d, %v", entries, last, err)
	}
	// All or none.
	err = s.Put(network, tableStatements, []Entry{{Key: []byte("new"), Value: []byte("x")}, {Key: []byte("k"), Value: []byte("x"), Revision: 1}})
	if e, _ := s.Get(network, tableStatements, []byte("new")); !errors.Is(err, errConflict) || e.Revision != 0 {
		t.Errorf("got %v and entry %+v", err, e)
	}
	if changes != 4 {
		t.Error("watch was called after stop")
	}
}

func TestUpdateRetries(t *testing.T) {
	s := openTestStore(t)
	network := config.NewNetworkKey().Public()
	if err := s.Create(network); err != nil {
		t.Fatal(err)
	}
	const n = 20
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			err := update(s, network, tableTickets, [][]byte{[]byte("count")}, func(current []Entry) []Entry {
				current[0].Value = append(current[0].Value, 'x')
				return current
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if e, err := s.Get(network, tableTickets, []byte("count")); err != nil || len(e.Value) != n {
		t.Errorf("%d of %d updates stand, %v", len(e.Value), n, err)
	}
}

func TestOldTicketsAreForgotten(t *testing.T) {
	h := startHub(t, Config{})
	m := newMember(t, config.NewNetworkKey(), 1)
	connect(t, h, m)
	network := m.network.Public()
	put := func(name string, state signaling.TicketState) {
		t.Helper()
		if err := h.putTickets(network, m.node(), []signaling.Ticket{{Hash: ticketHash(name), State: state}}); err != nil {
			t.Fatal(err)
		}
	}
	put("open", signaling.TicketOpen)
	put("closed", signaling.TicketUsed)
	put("long closed", signaling.TicketUsed)
	err := update(h.store, network, tableTickets, [][]byte{ticketHash("open"), ticketHash("long closed")}, func(current []Entry) []Entry {
		for i := range current {
			ticket, err := parseTicket(current[i].Value)
			if err != nil {
				t.Fatal(err)
			}
			ticket.Changed -= int64(ticketMemory/time.Second) + 60
			current[i].Value, _ = json.Marshal(ticket)
		}
		return current
	})
	if err != nil {
		t.Fatal(err)
	}
	put("new", signaling.TicketOpen)
	for name, want := range map[string]bool{"open": true, "closed": true, "long closed": false, "new": true} {
		if _, found, err := h.ticket(network, ticketHash(name)); found != want || err != nil {
			t.Errorf("%s: found %v, %v", name, found, err)
		}
	}
}
