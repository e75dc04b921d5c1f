package config

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
	err = d.inTurn(d.removal(membersFile), d.removal(invitesFile), d.removal(keysFile), d.removal(peersFile), func() error { return d.SaveNode(n) }, d.DropEarlier)
	return n, err
}

// inTurn does one step after the other, as long as none fails.
func (d *Dir) inTurn(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dir) removal(file string) func() error { return func() error { return d.remove(file) } }

// DropEarlier forgets the node that was set aside, if any: the one that was
// tried has proved good.
func (d *Dir) DropEarlier() error { return d.remove(earlierFile) }
