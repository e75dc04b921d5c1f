package peer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Limits of what a peer may say in one message. The credentials' lower bounds
// are those of RFC 8839 section 5.4.
const (
	maxCandidates = 32        // candidates per side and generation
	maxContent    = 16 * 1024 // bytes of JSON
	minUfrag      = 4
	minPwd        = 22
	maxCredential = 64
)

// description is the content of an offer and of an answer: one side of one
// ICE session (RFC 8839 section 4, as JSON).
type description struct {
	Ufrag      string   `json:"ufrag"`
	Pwd        string   `json:"pwd"`
	Candidates []string `json:"candidates"`        // candidate-attribute lines
	End        bool     `json:"end,omitempty"`     // no more are on their way (RFC 8838 section 8)
	Mapping    Mapping  `json:"mapping,omitempty"` // of the NAT before it
	Blocked    bool     `json:"blocked,omitempty"` // UDP is, where it is

	// Handshake is the tunnel's first message, of an offer: see Config.Handshake.
	Handshake []byte `json:"handshake,omitempty"`
}

// The types of message.
const (
	typeCandidates = "candidates"
	typeBye        = "bye"
	typeNote       = "note"
	typeHandshake  = "handshake" // a message of the tunnel's, in Note
)

// message is the content of a frame inside a session. Candidates are always
// the whole list so far, so a lost or overtaken message needs no repair but
// the next one.
type message struct {
	Type       string   `json:"type"`
	Ufrag      string   `json:"ufrag"` // the sender's: says which session is meant (RFC 8838 section 4.1)
	Candidates []string `json:"candidates,omitempty"`
	End        bool     `json:"end,omitempty"`
	Ack        int      `json:"ack,omitempty"`     // how many lines of the receiver's list arrived
	Want       bool     `json:"want,omitempty"`    // the sender lacks an ack: answer at once
	Note       []byte   `json:"note,omitempty"`    // see Peer.Tell
	Mapping    Mapping  `json:"mapping,omitempty"` // with candidates
	Blocked    bool     `json:"blocked,omitempty"` // with candidates
}

var errContent = errors.New("content of sealed message is not valid")

func decodeDescription(b []byte) (description, error) {
	var d description
	if err := decodeContent(b, &d); err != nil {
		return description{}, err
	}
	if len(d.Ufrag) < minUfrag || !credential(d.Ufrag) || len(d.Pwd) < minPwd || !credential(d.Pwd) {
		return description{}, fmt.Errorf("%w: ICE credentials", errContent)
	}
	if err := checkLines(d.Candidates); err != nil {
		return description{}, err
	}
	d.Mapping = d.Mapping.Known()
	return d, nil
}

func decodeMessage(b []byte) (message, error) {
	var m message
	if err := decodeContent(b, &m); err != nil {
		return message{}, err
	}
	if !credential(m.Ufrag) || m.Ack < 0 || m.Ack > maxCandidates {
		return message{}, fmt.Errorf("%w: field out of range", errContent)
	}
	if err := checkLines(m.Candidates); err != nil {
		return message{}, err
	}
	m.Mapping = m.Mapping.Known()
	return m, nil
}

func decodeContent(b []byte, v any) error {
	if len(b) > maxContent {
		return fmt.Errorf("%w: longer than %d bytes", errContent, maxContent)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", errContent, err)
	}
	return nil
}

func checkLines(lines []string) error {
	if len(lines) > maxCandidates {
		return fmt.Errorf("%w: more than %d candidates", errContent, maxCandidates)
	}
	for _, l := range lines {
		if len(l) > maxCandidateLine {
			return fmt.Errorf("%w: candidate longer than %d bytes", errContent, maxCandidateLine)
		}
	}
	return nil
}

// credential says whether s is made of ice-chars (RFC 8839 section 5.1) and
// of bearable length: it ends up in STUN USERNAMEs.
func credential(s string) bool {
	const iceChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	return len(s) <= maxCredential && strings.Trim(s, iceChars) == ""
}

// MaxNote bounds what Tell takes, in bytes: base64 and the rest of the message
// have to fit into maxContent.
const MaxNote = maxContent*3/4 - 256

// encode cannot fail: the types hold nothing that JSON lacks.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
