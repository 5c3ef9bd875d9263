package banana

// What the broker reads around the values of a message.

// Int reads an INT or NEG that fits an int64.
func (d *Decoder) Int(what string) (int64, error) {
	tok, err := d.next()
	if err != nil {
		return 0, err
	}
	v, ok := tok.int64()
	if !ok {
		return 0, protocolError("%s where %s should be an INT", tok, what)
	}
	return v, nil
}

// Name reads a STRING or VOCAB of at most max bytes. The result is valid until
// the next read; it must not be changed.
func (d *Decoder) Name(what string, max int) ([]byte, error) {
	b, end, err := d.NextName(what, max)
	if err == nil && end {
		err = protocolError("CLOSE where %s should be", what)
	}
	return b, err
}

// NextName is Name where the sequence may also end: then end is true and the
// CLOSE has been read.
func (d *Decoder) NextName(what string, max int) (name []byte, end bool, err error) {
	tok, err := d.next()
	if err != nil {
		return nil, false, err
	}
	switch tok.Type {
	case TypeClose:
		return nil, true, nil
	case TypeVocab:
		return vocab1Bytes[tok.N], false, nil
	case TypeString:
	default:
		return nil, false, protocolError("%s where %s should be a STRING", tok, what)
	}
	if tok.N > uint64(max) {
		return nil, false, violation("%s has %d bytes, %d are allowed", what, tok.N, max)
	}
	n := int(tok.N)
	if d.end-d.pos >= n {
		b := d.buf[d.pos : d.pos+n : d.pos+n]
		d.pos += n
		d.body = 0
		return b, false, nil
	}
	if err := d.charge(int64(n)); err != nil {
		return nil, false, err
	}
	b := make([]byte, n)
	return b, false, d.read(b)
}

// Block reads the header of a STRING and returns its length. BlockPart reads its
// bytes, into memory of the caller: nothing is charged.
func (d *Decoder) Block(what string) (int, error) {
	tok, err := d.next()
	if err == nil && tok.Type != TypeString {
		err = protocolError("%s where %s should be a STRING", tok, what)
	}
	return int(tok.N), err
}

// BlockPart fills p with the next bytes of what Block has found. All parts
// together may be shorter than that; the rest is skipped.
func (d *Decoder) BlockPart(p []byte) error { return d.read(p) }

// NextInt is Int where the sequence may also end.
func (d *Decoder) NextInt(what string) (v int64, end bool, err error) {
	tok, err := d.next()
	if err != nil {
		return 0, false, err
	}
	if tok.Type == TypeClose {
		return 0, true, nil
	}
	v, ok := tok.int64()
	if !ok {
		return 0, false, protocolError("%s where %s should be an INT", tok, what)
	}
	return v, false, nil
}

// NextOpen reads an OPEN and returns its type, or the end of the sequence.
func (d *Decoder) NextOpen(what string) (opentype string, end bool, err error) {
	tok, err := d.next()
	if err != nil {
		return "", false, err
	}
	switch tok.Type {
	case TypeClose:
		return "", true, nil
	case TypeOpen:
		opentype, err = d.openType()
		return opentype, false, err
	}
	return "", false, &Violation{Reason: "expected " + what + ", got " + tok.String()}
}

// Close reads the CLOSE of a sequence that must hold nothing more.
func (d *Decoder) Close(what string) error { return d.close(what, nil) }
