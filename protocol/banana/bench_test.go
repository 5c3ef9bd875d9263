package banana

import (
	"bytes"
	"reflect"
	"testing"
)

// loop is a reader of the same bytes for ever.
type loop struct {
	data []byte
	at   int
}

func (r *loop) Read(p []byte) (int, error) {
	n := copy(p, r.data[r.at:])
	r.at = (r.at + n) % len(r.data)
	return n, nil
}

type benchArgs struct{ A, B int }

// BenchmarkCall writes and reads one call with two integers, as a broker does.
func BenchmarkCall(b *testing.B) {
	fields, _, err := FieldsOf(reflect.TypeFor[benchArgs]())
	if err != nil {
		b.Fatal(err)
	}
	send := func(buf []byte, w *Numberer, args *benchArgs) []byte {
		e := NewEncoder(plainEncoder, true)
		e.Open("call")
		e.Int(7)
		e.Int(1)
		e.Name("add")
		e.Open("arguments")
		e.Int(2)
		v := reflect.ValueOf(args).Elem()
		for i := range fields {
			fields[i].Codec.Encode(e, fields[i].In(v))
		}
		e.Close()
		e.Close()
		m, _, err := e.Finish()
		if err != nil {
			b.Fatal(err)
		}
		buf, _ = w.Append(buf, m, 64<<10, nil)
		m.Free()
		return buf
	}
	receive := func(d *Decoder, args *benchArgs) {
		if _, err := d.Begin(); err != nil {
			b.Fatal(err)
		}
		d.Int("request number")
		d.Int("clid")
		d.Name("method", 100)
		d.NextOpen("arguments")
		n, _ := d.Int("number of arguments")
		v := reflect.ValueOf(args).Elem()
		for i := range n {
			if err := fields[i].Codec.Decode(d, fields[i].In(v), nil); err != nil {
				b.Fatal(err)
			}
		}
		d.Close("arguments")
		if err := d.Close("call"); err != nil {
			b.Fatal(err)
		}
	}
	args := &benchArgs{1, 2}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		var w Numberer
		var buf []byte
		for b.Loop() {
			buf = send(buf[:0], &w, args)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		in := send(nil, new(Numberer), args)
		d := NewDecoder(&loop{data: in}, nil, &DecoderConfig{Vocab: 1, Account: NewAccount("Bench", 1<<30, nil)})
		for b.Loop() {
			receive(d, args)
		}
	})
}

// benchValue writes and reads (answer 1 VALUE).
func benchValue(b *testing.B, v any, target any) {
	c, err := CodecOf(reflect.TypeOf(target).Elem())
	if err != nil {
		b.Fatal(err)
	}
	in, err := encode(v)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(in)))
		var w Numberer
		buf := make([]byte, 0, 64<<10)
		for b.Loop() {
			e := NewEncoder(plainEncoder, true)
			e.Open("answer")
			e.Int(1)
			e.Value(v)
			e.Close()
			m, _, err := e.Finish()
			if err != nil {
				b.Fatal(err)
			}
			for done := false; !done; {
				buf, done = w.Append(buf[:0], m, 64<<10, nil)
			}
			m.Free()
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(in)))
		r := &bytes.Reader{}
		d := NewDecoder(r, nil, &DecoderConfig{Vocab: 1, Account: NewAccount("Bench", 1<<30, nil)})
		for b.Loop() {
			r.Reset(in)
			d.opens = 0
			if err := answerValue(d, func() error { return c.Decode(d, reflect.ValueOf(target).Elem(), nil) }); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkBytes(b *testing.B) {
	for name, size := range map[string]int{"64KiB": 64 << 10, "1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) { benchValue(b, make([]byte, size), new([]byte)) })
	}
}

func BenchmarkText(b *testing.B) { benchValue(b, "hello, world", new(string)) }

func BenchmarkInts(b *testing.B) {
	ints := make([]int, 1000)
	for i := range ints {
		ints[i] = i * 1000
	}
	b.Run("typed", func(b *testing.B) { benchValue(b, ints, new([]int)) })
	items := make([]any, len(ints))
	for i := range items {
		items[i] = ints[i]
	}
	b.Run("any", func(b *testing.B) { benchValue(b, &List{items}, new(any)) })
}

func BenchmarkStructs(b *testing.B) {
	type record struct {
		Name  string
		Count int
		Ratio float64
		Tags  []string
	}
	records := make([]record, 100)
	for i := range records {
		records[i] = record{"a name", i, 0.5, []string{"x", "y"}}
	}
	b.Run("typed", func(b *testing.B) { benchValue(b, records, new([]record)) })
	b.Run("any", func(b *testing.B) {
		in, err := encode(records)
		if err != nil {
			b.Fatal(err)
		}
		v, err := decodeAny(in)
		if err != nil {
			b.Fatal(err)
		}
		benchValue(b, v, new(any))
	})
}

func BenchmarkMaps(b *testing.B) {
	m := map[string]int{}
	for i := range 100 {
		m[string(rune('a'+i%26))+string(rune('a'+i/26))] = i
	}
	b.Run("typed", func(b *testing.B) { benchValue(b, m, new(map[string]int)) })
	in, err := encode(m)
	if err != nil {
		b.Fatal(err)
	}
	v, err := decodeAny(in)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("any", func(b *testing.B) { benchValue(b, v, new(any)) })
}
