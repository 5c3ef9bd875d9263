package negotiate

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// version is the one version of the protocol: both of the range we offer and of
// the decisions we make. Decisions that call themselves 1 or 2 differ from 3
// only in what they promise of Banana, and are accepted.
const version = 3

var versions = numberRange{version, version}

// maxIncarnation bounds a peer's incarnation, which lives as long as the
// connection, in bytes. Those in use have 16.
const maxIncarnation = 128

// A hello is one side's offer.
type hello struct {
	tubID       furl.TubID
	incarnation string  // empty if there is none
	last        *connID // the last connection the sender was told of, or garbledConnection; nil if it does not say
	vocab       numberRange
	extensions  []string
}

// A connID is one connection in the eyes of its master: the master's
// incarnation, and the number it gave to the connection. A peer that remembers
// none says noConnection.
type connID struct {
	incarnation string
	seqnum      uint64
}

var noConnection = connID{"none", 0}

// garbledConnection is what a hello says if that makes no sense. Only who has
// something to compare it with looks at it, as other implementations do.
var garbledConnection = connID{}

func (c connID) String() string { return c.incarnation + " " + strconv.FormatUint(c.seqnum, 10) }

func parseConnID(s string) (connID, error) {
	f := fields(s)
	if len(f) != 2 || len(f[0]) > maxIncarnation {
		return connID{}, refuse(ErrMalformed, "a connection is not an incarnation and a number")
	}
	seqnum, err := strconv.ParseUint(f[1], 10, 64)
	if err != nil {
		return connID{}, refuse(ErrMalformed, "a connection is not an incarnation and a number")
	}
	return connID{strings.Clone(f[0]), seqnum}, nil // outlives the block
}

// parseLast reads what a hello says of the last connection. Numbers that no
// connection of ours can have are as good as the nearest that we can hold.
func parseLast(s string) connID {
	f := fields(s)
	if len(f) < 2 {
		return garbledConnection
	}
	n, ok := new(big.Int).SetString(f[1], 10)
	switch {
	case !ok:
		return garbledConnection
	case n.Sign() < 0:
		return connID{f[0], 0}
	case !n.IsUint64():
		return connID{f[0], math.MaxUint64}
	}
	return connID{f[0], n.Uint64()}
}

func (h hello) encode() []byte {
	var w builder
	w.add(keyVersions, "%d %d", versions.min, versions.max)
	if len(h.extensions) > 0 {
		w.add(keyExtensions, "%s", strings.Join(h.extensions, " "))
	}
	w.add(keyVocabRange, "%d %d", h.vocab.min, h.vocab.max)
	if h.last != nil {
		w.add(keyLast, "%s", h.last)
	}
	w.add(keyIncarnation, "%s", h.incarnation)
	w.add(keyTubID, "%s", h.tubID)
	return w.end()
}

// parseHello reads the other side's hello and makes sure that there is a version
// in common. Whether the TubID is the peer's is for the caller to check.
func parseHello(b []byte) (hello, error) {
	m, err := parseBlock(b)
	if err != nil {
		return hello{}, err
	}
	if err := refusalIn(m); err != nil {
		return hello{}, err
	}
	offered, ok := m[keyVersions]
	if !ok {
		return hello{}, tellReason(ErrVersion, textNoVersion)
	}
	theirs, err := parseRange(offered)
	if err != nil {
		return hello{}, err
	}
	if _, err := versions.best(theirs, ErrVersion, nameVersion); err != nil {
		return hello{}, err
	}
	if lower(m[keyForced]) == "true" {
		return hello{}, refuse(ErrMalformed, "a forced negotiation is not possible")
	}

	h := hello{tubID: furl.TubID(m[keyTubID]), incarnation: m[keyIncarnation]}
	if len(h.incarnation) > maxIncarnation {
		return hello{}, refuse(ErrMalformed, "its incarnation is longer than %d bytes", maxIncarnation)
	}
	h.incarnation = strings.Clone(h.incarnation) // the link keeps it, and not the block
	if s, ok := m[keyLast]; ok {
		last := parseLast(s)
		h.last = &last
	}
	if s, ok := m[keyVocabRange]; ok {
		if h.vocab, err = parseRange(s); err != nil {
			return hello{}, err
		}
	}
	if s, ok := m[keyExtensions]; ok {
		if h.extensions, err = parseExtensions(s); err != nil {
			return hello{}, err
		}
	}
	return h, nil
}

// A decision is what the master has made of the two hellos.
type decision struct {
	current    connID // zero if an old master does not say
	vocabIndex int
	extensions []string
}

func (d decision) encode() []byte {
	var w builder
	w.add(keyDecision, "%d", version)
	w.add(keyCurrent, "%s", d.current)
	if len(d.extensions) > 0 {
		w.add(keyExtensions, "%s", strings.Join(d.extensions, " "))
	}
	w.add(keyVocabChoice, "%d %s", d.vocabIndex, banana.VocabHash(d.vocabIndex))
	return w.end()
}

// parseDecision reads the master's decision on what ours, our hello, has offered.
func parseDecision(b []byte, ours hello) (decision, error) {
	m, err := parseBlock(b)
	if err != nil {
		return decision{}, err
	}
	if err := refusalIn(m); err != nil {
		return decision{}, err
	}
	if m[keyDecision] == "" {
		return decision{}, tellReason(ErrMalformed, textNoDecision)
	}
	if v, err := strconv.Atoi(m[keyDecision]); err != nil || v < 1 || v > version {
		return decision{}, refuse(ErrVersion, "the decision is of another version than 1 to %d", version)
	}

	var d decision
	hash := ""
	if s := m[keyVocabChoice]; s != "" {
		f := fields(s)
		if len(f) != 2 {
			return decision{}, refuse(ErrMalformed, "the choice of vocabulary is not a number and a hash")
		}
		if d.vocabIndex, err = strconv.Atoi(f[0]); err != nil {
			return decision{}, refuse(ErrMalformed, "the choice of vocabulary is not a number and a hash")
		}
		hash = f[1]
	}
	if i := int64(d.vocabIndex); i < ours.vocab.min || i > ours.vocab.max {
		return decision{}, tellReason(ErrVocab, fmt.Sprintf("I can't handle %s %d", nameVocabChoice, i))
	}
	// Table 0 is empty: there is nothing to disagree about.
	if own := banana.VocabHash(d.vocabIndex); d.vocabIndex > 0 && hash != own {
		return decision{}, tellReason(ErrVocab, fmt.Sprintf("Our hash for vocab-table-index %d (%s) does not match your hash (%s)",
			d.vocabIndex, own, printable(hash, 40)))
	}

	if s := m[keyCurrent]; s != "" {
		if d.current, err = parseConnID(s); err != nil {
			return decision{}, err
		}
	}
	if s, ok := m[keyExtensions]; ok {
		if d.extensions, err = parseExtensions(s); err != nil {
			return decision{}, err
		}
		if len(inCommon(d.extensions, ours.extensions)) != len(d.extensions) {
			return decision{}, refuse(ErrMalformed, "the decision has extensions that were not offered")
		}
	}
	return d, nil
}
