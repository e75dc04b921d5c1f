package hub

import "encoding/binary"

// channelHeader is what ChannelData begins with (RFC 8656 section 12.4):
//
//	 0                   1                   2                   3
//	|        Channel Number         |            Length             |
const channelHeader = 4

// isChannelData says what a datagram of a client's is taken for.
func isChannelData(d []byte) bool { return len(d) > 0 && d[0]&0xc0 == 0x40 }

// parseChannelData returns the payload, without the padding that may follow it
// (section 12.5). ok is false for a length that is not that of the datagram.
func parseChannelData(d []byte) (channel uint16, payload []byte, ok bool) {
	if len(d) < channelHeader {
		return 0, nil, false
	}
	n := int(binary.BigEndian.Uint16(d[2:]))
	if padding := len(d) - channelHeader - n; padding < 0 || padding > 3 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(d), d[channelHeader : channelHeader+n], true
}

// putChannelHeader makes d, a header and n bytes, ChannelData.
func putChannelHeader(d []byte, channel uint16, n int) {
	binary.BigEndian.PutUint16(d, channel)
	binary.BigEndian.PutUint16(d[2:], uint16(n))
}
