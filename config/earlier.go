package config

import "cmp"

// earlierFile is the node as it was before a newer invite was tried.
const earlierFile = "earlier.json"

// SetAside keeps the node that the directory holds for TakeBack, while another
// one is tried in its place.
func (d *Dir) SetAside(n *Node) error { return d.saveNode(earlierFile, n) }

// TakeBack makes the node that was set aside the directory's again, without
// anything of what was tried; nil if none was.
func (d *Dir) TakeBack() (*Node, error) {
	n, err := d.loadNode(earlierFile)
	if err != nil || n == nil {
		return nil, err
	}
	return n, cmp.Or(d.remove(membersFile), d.remove(invitesFile), d.remove(keysFile), d.SaveNode(n), d.DropEarlier())
}

// DropEarlier forgets the node that was set aside, if any: the one that was
// tried has proved good.
func (d *Dir) DropEarlier() error { return d.remove(earlierFile) }
