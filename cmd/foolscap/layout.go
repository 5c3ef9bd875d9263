package main

const (
	lineWidth = 100
	// maxIndent bounds what nesting costs: deeper values stay in one line.
	maxIndent = 40
	// maxLayout is the length up to which a document is laid out for people;
	// nobody reads a longer one. In bytes.
	maxLayout = 64 << 10
)

// layOut spreads a JSON document, written without white space, over as many
// lines as it takes to keep them short. What fits a line stays in one.
func layOut(doc []byte) []byte {
	if len(doc) <= lineWidth || len(doc) > maxLayout {
		return doc
	}
	l := layout{doc: doc, end: make(map[int]int)}
	l.match()
	l.value(0, 0)
	return l.out
}

type layout struct {
	doc []byte
	end map[int]int // of each bracket, the place behind its partner
	out []byte
}

// skipString returns the place behind the string that begins at i.
func (l *layout) skipString(i int) int {
	for i++; l.doc[i] != '"'; i++ {
		if l.doc[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func (l *layout) match() {
	var open []int
	for i := 0; i < len(l.doc); i++ {
		switch l.doc[i] {
		case '"':
			i = l.skipString(i) - 1
		case '[', '{':
			open = append(open, i)
		case ']', '}':
			l.end[open[len(open)-1]] = i + 1
			open = open[:len(open)-1]
		}
	}
}

// value writes the value at i and returns the place behind it.
func (l *layout) value(i, indent int) int {
	end, isContainer := l.end[i]
	switch {
	case l.doc[i] == '"':
		end = l.skipString(i)
	case !isContainer:
		for end = i; end < len(l.doc) && l.doc[end] != ',' && l.doc[end] != ']' && l.doc[end] != '}'; {
			end++
		}
	}
	if !isContainer || end-i <= lineWidth-indent || indent >= maxIndent {
		l.out = append(l.out, l.doc[i:end]...)
		return end
	}
	l.out = append(l.out, l.doc[i])
	for i++; i < end; i++ { // past the bracket, and then past each comma
		l.newLine(indent + 2)
		if l.doc[end-1] == '}' {
			colon := l.skipString(i)
			l.out = append(append(l.out, l.doc[i:colon]...), ": "...)
			i = colon + 1
		}
		i = l.value(i, indent+2)
		if l.doc[i] == ',' {
			l.out = append(l.out, ',')
		}
	}
	l.newLine(indent)
	l.out = append(l.out, l.doc[end-1])
	return end
}

func (l *layout) newLine(indent int) {
	l.out = append(l.out, '\n')
	for range indent {
		l.out = append(l.out, ' ')
	}
}
