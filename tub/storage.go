package tub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// storedRefCost is what a reference is charged for besides its FURL, in bytes.
const storedRefCost = 1 << 10

// Serialize writes a value as Foolscap keeps values in files: what it writes,
// [Unserialize] and the unserialize of Python's Tubs can read. Values are those
// of calls; sharing and cycles survive.
//
// Objects and references are written as FURLs, so the bytes are a secret if
// there is one among them. An object that is not registered gets a name that
// lasts as long as the object: what is to be found again later, by the next
// start of the program for one, has to be registered, with [Tub.RegisterFile]
// for example. A reference without a FURL, or an object while the Tub
// advertises no hints, is refused with [ErrNoFURL]; so are functions, readers and
// values of [Options.Stubs], unless the object that stands for them is registered:
// otherwise it would be gone at once.
//
// Options.Limits bound it. The error is a *banana.EncodeError.
func (t *Tub) Serialize(v any) ([]byte, error) {
	e := banana.NewEncoder(&banana.EncoderConfig{
		Limits:   t.conf.Limits.Limits,
		External: func(x banana.External) (any, error) { return t.stored(x) },
		Adapt:    t.adaptStored,
		Copies:   t.conf.Copies,
		// Python's readers are its receivers.
		WholeAttributes: true,
	}, true)
	e.Value(v)
	m, _, err := e.Finish()
	if err != nil {
		return nil, err
	}
	defer m.Free()
	var w banana.Numberer
	data, _ := w.Append(nil, m, math.MaxInt, func(dst []byte, x any, open uint64) []byte {
		dst = banana.AppendToken(dst, banana.TypeOpen, open)
		dst = banana.AppendString(dst, "their-reference")
		dst = banana.AppendInt(dst, 0) // nobody waits for it to be acknowledged
		dst = banana.AppendString(dst, x.(string))
		return banana.AppendToken(dst, banana.TypeClose, open)
	})
	return data, nil
}

// adaptStored is Adapt for values that are written, which nobody holds then.
func (t *Tub) adaptStored(v any, static reflect.Type) (banana.External, error) {
	x, err := (*host)(t).Adapt(v, static)
	if o, ok := x.(*Object); ok && !t.registered(o) {
		return nil, fmt.Errorf("%w: the object of a %T, which is not registered", ErrNoFURL, v)
	}
	return x, err
}

// stored returns the FURL that stands for an object or reference.
func (t *Tub) stored(x banana.External) (string, error) {
	v, err := (*host)(t).Unwrap(x, nil)
	if err != nil {
		return "", err
	}
	var text string
	switch v := v.(type) {
	case *Object:
		text = t.passing(v)
	case *broker.Gift:
		text = v.FURL
	}
	if _, err := furl.Parse(text); err != nil {
		return "", ErrNoFURL
	}
	return text, nil
}

// Unserialize reads what [Tub.Serialize] has written, or the serialize of a
// Python Tub, or foolscap.api.serialize. T is as for [Call].
//
// References become unresolved ones, as of [Tub.Ref]: nothing is dialled before
// their first call, which goes through the Tub's own handlers and policy.
// Those to objects of this Tub become the objects, if it knows them: ctx is for
// what [Tub.OnLookup] has added. Those that it does not know become references
// too, whose calls fail until there is an object of that name.
//
// Options.Limits and Memory bound what data can make it do, so data may come
// from anywhere; whoever wrote it chooses whom the references lead to. The
// error is a *banana.Violation for values that do not fit, a
// *banana.ProtocolError for data that is none, io.ErrUnexpectedEOF for data
// that is cut off, or the error of a handler of Tub.OnLookup.
func Unserialize[T any](ctx context.Context, t *Tub, data []byte) (T, error) {
	var v, zero T
	if err := t.unserialize(ctx, data, reflect.ValueOf(&v).Elem()); err != nil {
		return zero, err
	}
	return v, nil
}

func (t *Tub) unserialize(ctx context.Context, data []byte, v reflect.Value) error {
	codec, err := banana.CodecOf(v.Type())
	if err != nil {
		return err
	}
	d := banana.NewDecoder(bytes.NewReader(data), nil, &banana.DecoderConfig{
		Limits:  t.conf.Limits.Limits,
		Account: t.conf.Account,
		Adapt:   (*host)(t).Adopt,
		Copies:  t.conf.Copies,
		External: func(d *banana.Decoder, opentype string, _ banana.Taster) (any, bool, error) {
			if opentype != "their-reference" {
				return nil, false, nil
			}
			x, err := t.readStored(ctx, d)
			return x, true, err
		},
	})
	defer d.Release()
	if err := codec.Decode(d, v, nil); err != nil {
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	if err := d.Fill(); d.Buffered() > 0 || err == nil {
		return &banana.ProtocolError{Reason: "there is something after the value"}
	}
	return nil
}

// readStored reads the rest of a reference.
func (t *Tub) readStored(ctx context.Context, d *banana.Decoder) (banana.External, error) {
	if _, err := d.Int("the number of a reference"); err != nil {
		return nil, err
	}
	text, err := d.Name("the FURL of a reference", furl.MaxLength)
	if err != nil {
		return nil, err
	}
	if err := d.Charge(storedRefCost + 2*len(text)); err != nil {
		return nil, err
	}
	if len(text) == 0 {
		return nil, &banana.Violation{Err: ErrNoFURL}
	}
	f, err := furl.Parse(string(text))
	if err != nil {
		return nil, &banana.Violation{Reason: "a reference with a FURL that is none"}
	}
	if err := d.Close("their-reference"); err != nil {
		return nil, err
	}
	if f.TubID == t.TubID() {
		o, err := t.find(ctx, f.Name.Reveal())
		if err == nil {
			return o, nil
		}
		if !errors.Is(err, ErrUnknownName) {
			return nil, fmt.Errorf("looking up an object of this Tub: %w", err)
		}
	}
	return t.Ref(f), nil
}
