package peer

import (
	"sync"

	"github.com/p2ptun/p2ptun/signaling"
)

// maxInbox bounds the sealed messages that wait for the Peer's loop. They are
// all sent again by the peer in time.
const maxInbox = 64

// inbox is where other goroutines leave what the Peer's loop shall see. It
// never blocks them. Safe for concurrent use.
type inbox struct {
	wake chan struct{} // holds one signal while there is something to see

	mu   sync.Mutex // guards news
	news news
}

// news is what happened since the loop looked last; presence is the newest.
type news struct {
	sealed [][]byte
	online bool
	epoch  signaling.Epoch
	woken  bool
	rest   bool
	notes  [][]byte // to be sent
	shake  []byte   // handshake message to be sent: the newest
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// poke makes the loop look.
func (in *inbox) poke() { signal(in.wake) }

// receive takes a sealed message, and reports false when there are too many.
func (in *inbox) receive(sealed []byte) bool {
	in.mu.Lock()
	ok := len(in.news.sealed) < maxInbox
	if ok {
		in.news.sealed = append(in.news.sealed, sealed)
	}
	in.mu.Unlock()
	in.poke()
	return ok
}

func (in *inbox) setOnline(online bool, epoch signaling.Epoch) {
	in.mu.Lock()
	in.news.online, in.news.epoch = online, epoch
	in.mu.Unlock()
	in.poke()
}

func (in *inbox) rested() {
	in.mu.Lock()
	in.news.rest = true
	in.mu.Unlock()
	in.poke()
}

func (in *inbox) wanted() {
	in.mu.Lock()
	in.news.woken, in.news.rest = true, false
	in.mu.Unlock()
	in.poke()
}

// tell takes a note to send, and reports false when there are too many.
func (in *inbox) tell(note []byte) bool {
	in.mu.Lock()
	ok := len(in.news.notes) < maxInbox
	if ok {
		in.news.notes = append(in.news.notes, note)
	}
	in.mu.Unlock()
	in.poke()
	return ok
}

// handshake takes a handshake message to send, in place of one that waits.
func (in *inbox) handshake(message []byte) {
	in.mu.Lock()
	in.news.shake = message
	in.mu.Unlock()
	in.poke()
}

// take returns the news and begins anew.
func (in *inbox) take() news {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := in.news
	in.news.sealed, in.news.notes, in.news.shake, in.news.woken, in.news.rest = nil, nil, nil, false, false
	return n
}
