package hub

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// A page of statements keeps below signaling.MaxFrame with room for the other
// fields.
const (
	pageStatements = 64
	pageBytes      = signaling.MaxFrame - 1<<10
)

// members takes statements to publish, or a wish for all again.
func (c *conn) members(m *signaling.Members) error {
	if m.Since != nil && c.snapshots.Allow() {
		c.queue.push(item{since: m.Since})
	}
	if len(m.Statements) == 0 {
		return nil
	}
	c.owed += len(m.Statements)
	change, err := c.publish(m.Statements)
	if err != nil { // the digest tells what is missing; ending the connection mends no disk
		c.hub.drops.unstored.Add(1)
		c.log.Error("statements not stored", "err", err)
		return nil
	}
	if change.Err != nil && !errors.Is(change.Err, signaling.ErrVoid) { // who passes things on need not know who is an admin still
		return refuse(signaling.CodeUnauthorized, "%v", change.Err)
	}
	return nil
}

// publish stores statements, and does to those they are about what follows.
func (c *conn) publish(raw [][]byte) (signaling.Change, error) {
	change, err := c.roster.publish(raw)
	if err != nil {
		return change, err
	}
	// Also who was published before: a joiner may have come back since.
	var admitted []config.NodeKey
	gone := make(map[config.NodeKey]bool)
	err = c.roster.look(func(r *signaling.Roster) {
		for _, rec := range change.Removed {
			_, has := r.Record(rec.Node)
			gone[rec.Node] = !has && !r.IsRevoked(rec.Node)
		}
		for _, b := range raw {
			if s := r.Statement(sha256.Sum256(b)); s != nil && s.Record() != nil {
				admitted = append(admitted, s.Node)
			}
		}
	})
	for _, node := range admitted {
		c.hub.bus.Publish(c.network(), node, Event{Admitted: true})
	}
	for _, node := range change.Revoked {
		c.log.Info("revoked", "node", node.String())
		if err := c.hub.dropTickets(c.network(), node); err != nil {
			c.log.Error("tickets not dropped", "err", err)
		}
		c.hub.evict(c.network(), node, c.revocation(node))
	}
	for _, rec := range change.Removed {
		if gone[rec.Node] {
			c.hub.evict(c.network(), rec.Node, &signaling.Error{Code: signaling.CodeUnauthorized, Message: "no admin of the network vouches for this machine any more"})
		}
	}
	return change, err
}

// revocation is what a revoked node is shown as the reason.
func (c *conn) revocation(node config.NodeKey) *signaling.Error {
	e := &signaling.Error{Code: signaling.CodeRevoked, Message: "an admin of the network has revoked this machine"}
	c.roster.look(func(r *signaling.Roster) { e.Proof = r.Revocation(node) })
	return e
}

// sendStatements sends the statements after a sequence in pages. A snapshot
// ends with a last page even if it is empty; a delta may be nothing at all.
func (c *conn) sendStatements(since uint64, snapshot bool) error {
	for {
		page, last, err := c.page(since)
		if err != nil {
			return err
		}
		if since > last { // of another life of this hub
			since = 0
			continue
		}
		if len(page.Statements) == 0 && !snapshot {
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

// page reads the statements after a sequence, as many as a frame takes.
func (c *conn) page(since uint64) (page *signaling.Members, last uint64, err error) {
	entries, last, err := c.hub.store.After(c.network(), tableStatements, since, pageStatements+1)
	if err != nil {
		return nil, 0, err
	}
	page = &signaling.Members{Sequence: last}
	size := 0
	for i, e := range entries {
		size += base64.StdEncoding.EncodedLen(len(e.Value)) + 3
		if i == pageStatements || size > pageBytes {
			page.More = true
			page.Sequence = entries[i-1].Revision
			return page, last, nil
		}
		page.Statements = append(page.Statements, e.Value)
	}
	page.Digest, err = c.roster.digestAt(last)
	if errors.Is(err, errConflict) { // changed meanwhile: the digest comes with the next page
		page.More = true
		err = nil
	}
	return page, last, err
}
