package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

func tokensCommand() *command {
	return &command{
		name:    "tokens",
		args:    "[FILE]",
		summary: "annotate captured Banana: every token, and the values they form",
		about: `Reads Banana, the serialization that Foolscap speaks after negotiation, and
prints every token with its offset in bytes and its nesting. After each message
follows its value in the notation of "foolscap call" behind a "=". Sequences
that are no plain values, such as a call, are written as
  {"$sequence": "call", "items": [...]}

The capture is one direction of a connection, decrypted, from the start of a
message on. It comes from FILE or standard input, as it was on the wire or in
hexadecimal digits with any white space between them; which one is recognised.
It may have at most 64 MiB.

What is damaged is shown as far as it goes, with the place where it breaks; then
the exit code is 1. Remarks on tokens that are odd begin with a "!".

FURLs, and the names that are asked for in a getReferenceByName, are secrets and
left out, unless --reveal is given.

With --json there is one JSON document for each token and each value, one in a
line.`,
		examples: `echo 00 88 0d 87 01 81 04 82 61 62 63 64 00 89 | foolscap tokens
foolscap tokens capture.bin
# Of a peer that has agreed on no vocabulary.
foolscap tokens --vocab 0 capture.bin
# All the values.
foolscap tokens --json capture.bin | jq -c 'select(has("value")).value'`,
		codes: []exitCode{exitInterrupted},
		setup: setupTokens,
	}
}

type tokensFlags struct {
	vocab  int
	reveal bool
}

func setupTokens(fs *flag.FlagSet) runFunc {
	f := new(tokensFlags)
	fs.IntVar(&f.vocab, "vocab", 1, "the vocabulary `TABLE` that was negotiated, 0 or 1 (the default)")
	fs.BoolVar(&f.reveal, "reveal", false, "show secrets too")
	return func(ctx context.Context, e *env, args []string) error {
		if err := want(args, 0, 1, "one FILE, or nothing for standard input"); err != nil {
			return err
		}
		if f.vocab < 0 || f.vocab > banana.MaxVocab {
			return usagef("--vocab %d: there are the tables 0 and %d", f.vocab, banana.MaxVocab)
		}
		if len(args) == 0 {
			args = []string{"-"}
		}
		return f.run(ctx, e, args[0])
	}
}

// maxCapture bounds what is read, in bytes; in hexadecimal it takes three times
// as much.
const maxCapture = 64 << 20

func (f *tokensFlags) run(ctx context.Context, e *env, from string) error {
	var data []byte
	var err error
	if from == "-" {
		data, err = e.takeStdin(ctx, "a capture", 3*maxCapture)
	} else {
		data, err = takeFile(ctx, from, "a capture", 3*maxCapture)
	}
	if err != nil {
		return err
	}
	data, isHex, halfByte := fromHex(data)
	switch {
	case len(data) == 0:
		return errors.New("there is nothing in the capture")
	case len(data) > maxCapture:
		return fmt.Errorf("the capture has %d bytes, at most %d are read", len(data), maxCapture)
	}
	out := bufio.NewWriter(e.stdout)
	p := &tokenPrinter{e: e, out: out, data: data, tree: messageTree{reveal: f.reveal}}
	err = p.all(ctx, f.vocab)
	switch {
	case err == nil && halfByte:
		err = fmt.Errorf("at byte %d: half a byte in hexadecimal", len(data))
	case err != nil && !isHex && isText(data):
		err = fmt.Errorf("%w; the input was taken for binary, since not all of it is hexadecimal digits", err)
	}
	return errors.Join(out.Flush(), err)
}

// isText reports whether there is nothing but printable ASCII and white space.
func isText(data []byte) bool {
	return !bytes.ContainsFunc(data, func(r rune) bool { return r >= 0x7f || r < ' ' && r != '\n' && r != '\r' && r != '\t' })
}

// fromHex decodes hexadecimal digits and returns everything else as it is: a
// token ends with a byte that is no ASCII, so that Banana never looks like
// them. halfByte says that there is one digit too many.
func fromHex(data []byte) (decoded []byte, isHex, halfByte bool) {
	digits := make([]byte, 0, len(data))
	for _, c := range data {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
			digits = append(digits, c)
		case c != ' ' && c != '\n' && c != '\r' && c != '\t':
			return data, false, false
		}
	}
	n, _ := hex.Decode(digits, digits[:len(digits)&^1])
	return digits[:n], true, len(digits)%2 == 1
}

// A tokenPrinter prints tokens as they come, and the value of each message
// once it is complete.
type tokenPrinter struct {
	e    *env
	out  *bufio.Writer
	data []byte
	tree messageTree
}

func (p *tokenPrinter) all(ctx context.Context, vocab int) error {
	for tok, err := range banana.Scan(bytes.NewReader(p.data), vocab) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			p.message(true)
			return fmt.Errorf("at byte %d: %s", tok.Offset, damage(err))
		}
		remark := p.tree.add(&tok, p.body(tok))
		if err := p.token(tok, remark); err != nil {
			return err
		}
		if p.tree.complete() {
			if err := p.message(false); err != nil {
				return err
			}
		}
	}
	return nil
}

// damage says what is wrong in the words of somebody who looks at a file.
func damage(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "the capture ends within a token or a sequence"
	}
	return strings.TrimPrefix(err.Error(), "banana: ")
}

// body returns all of a token's body: a Scanned has its beginning only.
func (p *tokenPrinter) body(tok banana.Scanned) []byte {
	from := tok.Offset + int64(len(tok.Header)) + 1
	return p.data[from : tok.Offset+tok.Size]
}

// tokenDocument is what --json writes for a token.
type tokenDocument struct {
	Offset     int64  `json:"offset"`
	Size       int64  `json:"size"`
	Depth      int    `json:"depth"`
	Token      string `json:"token"`
	Annotation string `json:"annotation"`
	Remark     string `json:"remark,omitempty"`
}

func (p *tokenPrinter) token(tok banana.Scanned, remark string) error {
	annotation := tok.Annotation()
	if p.e.json {
		return p.json(tokenDocument{tok.Offset, tok.Size, tok.Depth, tok.Type.String(), annotation, remark})
	}
	// The nesting of hostile input can be as deep as the input is long.
	depth := strings.Repeat("  ", min(tok.Depth, 40))
	if remark != "" {
		remark = "  ! " + remark
	}
	_, err := fmt.Fprintf(p.out, "%8d  %s%s%s\n", tok.Offset, depth, clean(annotation), clean(remark))
	return err
}

// messageDocument is what --json writes for a value.
type messageDocument struct {
	Offset     int64           `json:"offset"`
	Value      json.RawMessage `json:"value,omitempty"`
	Incomplete bool            `json:"incomplete,omitempty"`
	Remark     string          `json:"remark,omitempty"`
}

// message prints the value of the message that has been collected, if any.
func (p *tokenPrinter) message(incomplete bool) error {
	m := p.tree.take()
	if m == nil {
		return nil
	}
	doc := messageDocument{Offset: m.offset, Incomplete: incomplete}
	if m.tooLarge {
		doc.Remark = fmt.Sprintf("the value has more than %d tokens or %d levels and is not shown", maxMessageTokens, maxMessageDepth)
	} else {
		doc.Value = m.root.render(nil)
	}
	if p.e.json {
		return p.json(doc)
	}
	shown := string(doc.Value)
	if doc.Remark != "" {
		shown = "! " + doc.Remark
	}
	sign := "="
	if incomplete {
		sign = "= incomplete:"
	}
	_, err := fmt.Fprintf(p.out, "%8s  %s %s\n", "", sign, shown)
	return err
}

func (p *tokenPrinter) json(v any) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	_, err := p.out.Write(escapeJSON(b.Bytes()))
	return err
}
