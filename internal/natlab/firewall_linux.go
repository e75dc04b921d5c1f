package natlab

// SetFirewall changes what the NAT lets out from now on. It forgets what [NAT.Flush]
// forgets, but for connections.
func (n *NAT) SetFirewall(f Firewall) error {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	n.behavior.Firewall = f
	return n.install()
}
