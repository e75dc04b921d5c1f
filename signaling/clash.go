package signaling

import (
	"maps"
	"slices"

	"github.com/p2ptun/p2ptun/config"
)

// standing chooses those that stand: again and again the one that loses to no
// other, upon which all that clash with it drop out. Where each loses to
// another, it is the lowest node key's or what replaces that.
func standing(known map[config.NodeKey]*SignedRecord) map[config.NodeKey]*SignedRecord {
	open := slices.SortedFunc(maps.Values(known), byNode)
	members := make(map[config.NodeKey]*SignedRecord, len(open))
	for len(open) > 0 {
		unbeaten := slices.IndexFunc(open, func(rec *SignedRecord) bool {
			return !slices.ContainsFunc(open, func(o *SignedRecord) bool {
				return o != rec && clash(&o.Record, &rec.Record) && wins(&o.Record, &rec.Record)
			})
		})
		best := replacement(open)
		if unbeaten >= 0 {
			best = open[unbeaten]
		}
		members[best.Node] = best
		open = slices.DeleteFunc(open, func(o *SignedRecord) bool { return clash(&o.Record, &best.Record) })
	}
	return members
}

// replacement follows from the first record to what replaces it, and on, as
// far as that goes without coming back.
func replacement(open []*SignedRecord) *SignedRecord {
	last, passed := open[0], map[config.NodeKey]bool{}
	for {
		passed[last.Node] = true
		next := slices.IndexFunc(open, func(o *SignedRecord) bool {
			return o.Replaces == last.Node && !passed[o.Node] && clash(&o.Record, &last.Record)
		})
		if next < 0 {
			return last
		}
		last = open[next]
	}
}

// Newer orders two records of one node: the higher sequence wins, then the
// lower hash, so that all nodes agree.
func Newer(a, b *SignedRecord) bool {
	if a.Sequence != b.Sequence {
		return a.Sequence > b.Sequence
	}
	ha, hb := a.Hash(), b.Hash()
	return slices.Compare(ha[:], hb[:]) < 0
}

// clash says whether two records cannot stand both; a record clashes with
// itself.
func clash(a, b *Record) bool {
	return a.Name == b.Name || a.IPv4 == b.IPv4 || a.WireGuard == b.WireGuard || a.Sealing == b.Sealing
}

// wins orders two records of different nodes that clash: the one that
// replaces the other, then the lower node key.
func wins(a, b *Record) bool {
	aReplaces, bReplaces := a.Replaces == b.Node, b.Replaces == a.Node
	if aReplaces != bReplaces {
		return aReplaces
	}
	return compareKeys(a.Node, b.Node) < 0
}

func byNode(a, b *SignedRecord) int { return compareKeys(a.Node, b.Node) }
