package main

import (
	"testing"
	"time"
)

var epoch = time.Unix(1e9, 0)

// at are times in milliseconds after the epoch.
func at(ms ...int) (all []time.Time) {
	for _, m := range ms {
		all = append(all, epoch.Add(time.Duration(m)*time.Millisecond))
	}
	return all
}

func TestSilence(t *testing.T) {
	for _, tt := range []struct {
		name      string
		sent, got []time.Time
		from, to  int
		want      int // ms
	}{
		{"none", at(0, 20, 40, 60), at(40, 60, 80, 100), 40, 100, 0},
		{"two lost", at(0, 20, 40, 60), at(40, 100), 40, 100, 40},
		{"the longest", at(0, 20, 40, 60, 80, 100), at(0, 60, 70, 150), 0, 150, 60},
		{"before it is looked at", nil, at(0, 500, 520), 500, 520, 0},
		{"begins while it is looked at", nil, at(0, 500, 520), 300, 520, 180},
		{"nothing comes any more", nil, at(0, 20), 0, 520, 480},
		{"nothing came at all", nil, nil, 100, 520, 400},
		{"the sender was late", at(0, 20, 120, 140), at(40, 60, 160, 180), 40, 180, 0},
		{"the sender was late, and one is lost", at(0, 20, 120, 140), at(40, 60, 180), 40, 180, 20},
		{"what comes after it was looked at", nil, at(0, 900), 0, 500, 480},
	} {
		got := silence(tt.sent, tt.got, at(tt.from)[0], at(tt.to)[0])
		if want := time.Duration(tt.want) * time.Millisecond; got != want {
			t.Errorf("%s: %v, want %v", tt.name, got, want)
		}
	}
}

func TestEnded(t *testing.T) {
	const limit = 200 * time.Millisecond
	for _, tt := range []struct {
		name string
		got  []time.Time
		want int
	}{
		{"no silence", at(0, 20, 40, 200, 400, 500), 0},
		{"one", at(0, 20, 300, 400, 500), 300},
		{"the last of two", at(0, 201, 490), 490},
		{"goes on", at(0), 500},
	} {
		if got, want := ended(tt.got, epoch, at(500)[0], limit), at(tt.want)[0]; !got.Equal(want) {
			t.Errorf("%s: %v, want %v", tt.name, got.Sub(epoch), want.Sub(epoch))
		}
	}
}

func TestWithSection(t *testing.T) {
	const old = "# Reliability\n\n## One\n\nfirst\n\n## Two\n\nsecond\n"
	for _, tt := range []struct{ section, want string }{
		{"## One\n\nnew\n\n", "# Reliability\n\n## One\n\nnew\n\n## Two\n\nsecond\n"},
		{"## Two\n\nnew\n", "# Reliability\n\n## One\n\nfirst\n\n## Two\n\nnew\n"},
		{"## Three\n\nnew\n", old + "\n## Three\n\nnew\n"},
	} {
		if got := withSection(old, tt.section); got != tt.want {
			t.Errorf("%q becomes\n%q, want\n%q", tt.section, got, tt.want)
		}
	}
}

// Data that the fault is to lose is told from what must pass.
func TestIsData(t *testing.T) {
	udp := func(payload ...byte) []byte {
		packet := append(make([]byte, 28), append(payload, make([]byte, 60)...)...)
		packet[0], packet[9] = 0x45, 17
		return packet
	}
	six := func(payload ...byte) []byte {
		packet := append(make([]byte, 48), append(payload, make([]byte, 60)...)...)
		packet[0], packet[6] = 0x60, 17
		return packet
	}
	tcp := udp(4, 0, 0, 0)
	tcp[9] = 6
	for _, tt := range []struct {
		name   string
		packet []byte
		want   bool
	}{
		{"data", udp(4, 0, 0, 0), true},
		{"data on IPv6", six(4, 0, 0, 0), true},
		{"a handshake", udp(1, 0, 0, 0), false},
		{"STUN", udp(0, 1, 0, 60), false},
		{"data in ChannelData", udp(0x40, 0, 0, 60, 4, 0, 0, 0), false},
		{"TCP", tcp, false},
		{"empty", nil, false},
		{"cut off", udp(4, 0, 0, 0)[:30], false},
	} {
		if got := isData(tt.packet); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
