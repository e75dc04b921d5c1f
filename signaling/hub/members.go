package hub

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// A page of records keeps below signaling.MaxFrame with room for the other
// fields.
const (
	pageRecords = 32
	pageBytes   = signaling.MaxFrame - 1<<10
)

// members takes records to publish, or a wish for all again.
func (c *conn) members(m *signaling.Members) error {
	if m.Since != nil {
		c.queue.push(item{since: m.Since})
	}
	records := make([]*signaling.SignedRecord, len(m.Records))
	for i, raw := range m.Records {
		var err error
		if records[i], err = signaling.ParseRecord(c.network(), raw); err != nil {
			return refuse(signaling.CodeUnauthorized, "%v", err)
		}
	}
	if len(records) == 0 {
		return nil
	}
	if _, err := c.hub.publish(c.network(), records); err != nil {
		return err
	}
	for _, r := range records {
		c.hub.bus.Publish(c.network(), r.Node, Event{Admitted: true})
	}
	return nil
}

// publish stores those records that are newer than what is stored, and
// returns for each node the record that stands. The Store's watchers tell the
// members.
func (h *Hub) publish(network config.NetworkKey, records []*signaling.SignedRecord) ([]*signaling.SignedRecord, error) {
	keys := make([][]byte, len(records))
	for i, r := range records {
		keys[i] = r.Node[:]
	}
	standing := make([]*signaling.SignedRecord, len(records))
	err := update(h.store, network, tableRecords, keys, func(current []Entry) []Entry {
		var changed []Entry
		best := make(map[config.NodeKey]int) // place in changed
		for i, r := range records {
			standing[i] = r
			if old, err := signaling.ParseRecord(network, current[i].Value); err == nil && !signaling.Newer(r, old) {
				standing[i] = old
				continue
			}
			e := Entry{Key: keys[i], Value: r.Bytes(), Revision: current[i].Revision}
			if n, ok := best[r.Node]; !ok {
				best[r.Node] = len(changed)
				changed = append(changed, e)
			} else if prev, err := signaling.ParseRecord(network, changed[n].Value); err == nil && signaling.Newer(r, prev) {
				changed[n] = e
			}
		}
		return changed
	})
	return standing, err
}

// sendRecords sends the records after a sequence in pages. A snapshot ends
// with a last page even if it is empty; a delta may be nothing at all.
func (c *conn) sendRecords(since uint64, snapshot bool) error {
	for {
		page, last, err := c.hub.page(c.network(), since)
		if err != nil {
			return err
		}
		if since > last { // of another life of this hub
			since = 0
			continue
		}
		if len(page.Records) == 0 && !snapshot {
			c.sent = last
			return nil
		}
		if err := c.writeFrame(page); err != nil {
			return err
		}
		if !page.More {
			c.sent = last
			return nil
		}
		since, snapshot = page.Sequence, true // what was begun gets its last page
	}
}

// page reads the records after a sequence, as many as a frame takes.
func (h *Hub) page(network config.NetworkKey, since uint64) (page *signaling.Members, last uint64, err error) {
	entries, last, err := h.store.After(network, tableRecords, since, pageRecords+1)
	if err != nil {
		return nil, 0, err
	}
	page = &signaling.Members{Sequence: last}
	size := 0
	for i, e := range entries {
		size += base64.StdEncoding.EncodedLen(len(e.Value)) + 3
		if i == pageRecords || size > pageBytes {
			page.More = true
			page.Sequence = entries[i-1].Revision
			return page, last, nil
		}
		page.Records = append(page.Records, e.Value)
	}
	page.Digest, err = h.digests.of(h.store, network, last)
	if errors.Is(err, errConflict) { // changed meanwhile: the digest comes with the next page
		page.More = true
		err = nil
	}
	return page, last, err
}

// digests remembers what each network's digest is made of, so that one changed
// record costs one hash, and its members' asking nothing. It is safe for
// concurrent use.
type digests struct {
	mu   sync.Mutex // guards last
	last map[config.NetworkKey]*digestAt
}

type digestAt struct {
	sequence uint64
	hashes   map[string][32]byte // by node key; records are never deleted
	digest   []byte
}

// of returns the digest at that sequence, errConflict if it is not the last.
func (d *digests) of(s Store, network config.NetworkKey, sequence uint64) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d.last[network]
	if at == nil {
		at = &digestAt{hashes: make(map[string][32]byte)}
	}
	if at.digest != nil && at.sequence == sequence {
		return at.digest, nil
	}
	entries, last, err := s.After(network, tableRecords, at.sequence, 0)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		at.hashes[string(e.Key)] = sha256.Sum256(e.Value)
	}
	at.sequence = last
	at.digest = signaling.Digest(slices.Collect(maps.Values(at.hashes)))
	if d.last == nil {
		d.last = make(map[config.NetworkKey]*digestAt)
	}
	d.last[network] = at
	if last != sequence {
		return nil, errConflict
	}
	return at.digest, nil
}
