package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// A table is text in columns. Its cells are made fit for a terminal.
type table struct{ rows [][]cell }

type cell struct {
	text   string
	colour string // of ANSI, or ""
	right  bool   // aligned so
}

const (
	green = "32"
	red   = "31"
)

// row appends a row of strings and cells.
func (t *table) row(cells ...any) {
	row := make([]cell, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case cell:
			c.text = clean(c.text)
			row[i] = c
		case string:
			row[i] = cell{text: clean(c)}
		}
	}
	t.rows = append(t.rows, row)
}

// write prints the table. Columns are two spaces apart.
func (t *table) write(w io.Writer, colour bool) {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range t.rows {
		var b strings.Builder
		for i, c := range row {
			if i > 0 {
				b.WriteString("  ")
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text))
			if c.right {
				b.WriteString(pad)
			}
			b.WriteString(paint(colour && c.colour != "", c.colour, c.text))
			if !c.right && i < len(row)-1 {
				b.WriteString(pad)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// milliseconds is a time in the unit of all tables and documents.
func milliseconds(d time.Duration) float64 { return float64(d.Round(time.Microsecond)) / 1e6 }

// shown is a time for a table: "-" for what did not take place.
func shown(d time.Duration) cell {
	if d <= 0 {
		return number("-")
	}
	return number(fmt.Sprintf("%.2f", milliseconds(d)))
}

// number is a cell of a column of numbers.
func number(s string) cell { return cell{text: s, right: true} }
