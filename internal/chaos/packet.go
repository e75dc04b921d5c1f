package main

// isData says whether a packet is WireGuard's transport data on UDP, and not
// within a relay's framing.
func isData(packet []byte) bool {
	payload := udpPayload(packet)
	return len(payload) >= 32 && payload[0] == 4 && payload[1] == 0 && payload[2] == 0 && payload[3] == 0
}

// udpPayload is what a UDP packet carries; nil for any other.
func udpPayload(packet []byte) []byte {
	const udp, udpHeader, ipv6Header = 17, 8, 40
	header := 0
	switch {
	case len(packet) < 20:
		return nil
	case packet[0]>>4 == 4 && packet[9] == udp:
		header = int(packet[0]&15) * 4
	case packet[0]>>4 == 6 && len(packet) >= ipv6Header && packet[6] == udp:
		header = ipv6Header
	default:
		return nil
	}
	return packet[min(header+udpHeader, len(packet)):]
}
