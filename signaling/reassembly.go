package signaling

import (
	"container/list"
	"time"
)

// What waits for the rest of its message. The bounds are what members can make a
// node remember, and who repeats what members have sent: others make no fragment
// that opens.
const (
	reassemblyFor  = 5 * time.Second // from the first fragment on
	reassemblyPair = 128 << 10       // bytes of one sender's messages
	reassemblyAll  = 4 << 20         // bytes of all
)

// Origin is whose fragments belong together: S is where they came from, which is
// comparable and means nothing here.
type Origin[S comparable] struct {
	Tag  Tag
	From S
}

// Reassembly puts messages together from their fragments: in any order, some of
// them twice. Only fragments that came from one place make a message, so that it
// is known how much came from there. It is not safe for concurrent use.
type Reassembly[S comparable] struct {
	parts map[part[S]]*list.Element // of *partial
	order *list.List                // oldest first
	sizes map[Tag]int               // bytes
	size  int                       // bytes, of all
}

type part[S comparable] struct {
	Origin[S]
	message MessageID
	length  int
}

// partial is a message that is not whole.
type partial[S comparable] struct {
	key     part[S]
	began   time.Time
	sealed  []byte
	have    uint64 // a bit for each fragment: there are 36 at most
	missing int
	came    int // bytes of datagrams
}

// NewReassembly returns one that has nothing.
func NewReassembly[S comparable]() *Reassembly[S] {
	return &Reassembly[S]{parts: make(map[part[S]]*list.Element), order: list.New(), sizes: make(map[Tag]int)}
}

// Add takes a fragment that opened, of a datagram of size bytes. Once all of its
// message are there it returns that, which is the caller's, and how many bytes
// of datagrams it came in; nil before.
func (r *Reassembly[S]) Add(now time.Time, o Origin[S], f Fragment, size int) (sealed []byte, came int) {
	for e := r.order.Front(); e != nil && now.Sub(e.Value.(*partial[S]).began) >= reassemblyFor; e = r.order.Front() {
		r.drop(e)
	}
	if f.Fragments() == 1 {
		if sealed = append([]byte(nil), f.Part...); DatagramID(sealed) != f.Message {
			return nil, 0
		}
		return sealed, size
	}
	key := part[S]{o, f.Message, f.Length}
	e := r.parts[key]
	if e == nil {
		e = r.begin(now, key, f.Fragments())
	}
	p := e.Value.(*partial[S])
	p.came += size
	if bit := uint64(1) << f.Index; p.have&bit == 0 {
		p.have |= bit
		p.missing--
		copy(p.sealed[f.Index*maxPart:], f.Part)
	}
	if p.missing > 0 {
		return nil, 0
	}
	r.drop(e)
	if DatagramID(p.sealed) != f.Message {
		return nil, 0
	}
	return p.sealed, p.came
}

// begin makes room for a message, at the cost of the oldest of its sender, or of
// the oldest of all.
func (r *Reassembly[S]) begin(now time.Time, key part[S], fragments int) *list.Element {
	for e := r.order.Front(); e != nil && r.sizes[key.Tag]+key.length > reassemblyPair; {
		next := e.Next()
		if e.Value.(*partial[S]).key.Tag == key.Tag {
			r.drop(e)
		}
		e = next
	}
	for r.size+key.length > reassemblyAll {
		r.drop(r.order.Front())
	}
	e := r.order.PushBack(&partial[S]{key: key, began: now, sealed: make([]byte, key.length), missing: fragments})
	r.parts[key] = e
	r.size += key.length
	r.sizes[key.Tag] += key.length
	return e
}

func (r *Reassembly[S]) drop(e *list.Element) {
	p := r.order.Remove(e).(*partial[S])
	delete(r.parts, p.key)
	r.size -= p.key.length
	if r.sizes[p.key.Tag] -= p.key.length; r.sizes[p.key.Tag] == 0 {
		delete(r.sizes, p.key.Tag)
	}
}
