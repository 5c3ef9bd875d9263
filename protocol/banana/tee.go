package banana

// tee returns a Taster that shows everything to both, to a first. Either may be
// nil.
func tee(a, b Taster) Taster {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return &both{a, b}
}

type both struct{ a, b Taster }

func (t *both) Token(tok Token) error {
	if err := t.a.Token(tok); err != nil {
		return err
	}
	return t.b.Token(tok)
}

func (t *both) Body(b []byte) error {
	if err := t.a.Body(b); err != nil {
		return err
	}
	return t.b.Body(b)
}

func (t *both) Open(opentype string) (Taster, error) {
	a, err := t.a.Open(opentype)
	if err != nil {
		return nil, err
	}
	b, err := t.b.Open(opentype)
	return tee(a, b), err
}

func (t *both) Value(v any, growing func(v any) bool) error {
	if err := t.a.Value(v, growing); err != nil {
		return err
	}
	return t.b.Value(v, growing)
}

func (t *both) Close() error {
	if err := t.a.Close(); err != nil {
		return err
	}
	return t.b.Close()
}
