package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (o *outcome) writeTable(w io.Writer) error {
	var text strings.Builder
	env := o.environment
	fmt.Fprintf(&text, "%s %s, %d × %s", env.Go, env.System, env.Processors, env.Processor)
	if env.Python != "" {
		fmt.Fprintf(&text, "; %s", env.Python)
	}
	fmt.Fprintf(&text, `
Rounds: %d of %v. Quoted are medians; ± is the median distance of a round from that.
A call is sink(%d bytes) → length. %s
%s

`, o.rounds, seconds(o.settings.seconds), callSize, o.arrangement(), o.disturbance())

	heads := []string{"", ""}
	for _, c := range o.contestants {
		heads = append(heads, c.title)
	}
	rows := [][]string{heads}
	for _, f := range figures {
		if !o.has(f) {
			continue
		}
		cells := []string{f.title, f.unit}
		for _, c := range o.contestants {
			cells = append(cells, f.cell(o.results[c.name][f.key]))
		}
		rows = append(rows, cells)
	}
	text.WriteString(alignTable(rows, 2))

	text.WriteString("\nTLS agreed on:\n")
	for _, c := range o.contestants {
		if !c.overUDP() {
			fmt.Fprintf(&text, "  %s: %v\n", c.title, o.hellos[c.name])
		}
	}
	for _, c := range contestants {
		if why, ok := o.skipped[c.name]; ok {
			fmt.Fprintf(&text, "%s did not run: %s\n", c.title, why)
		}
	}

	text.WriteByte('\n')
	rows = [][]string{{"target", "", "needed", "got", "median of rounds", "least", "most"}}
	for _, t := range targets {
		j := t.judge(o.results)
		rows = append(rows, []string{
			t.title, j.verdict(), j.needed(), j.number(j.got), j.number(j.middle), j.number(j.least), j.number(j.most),
		})
	}
	text.WriteString(alignTable(rows, 2))
	_, err := io.WriteString(w, text.String())
	return err
}

// has reports whether anybody has the figure.
func (o *outcome) has(f figure) bool {
	return slices.ContainsFunc(o.contestants, func(c contestant) bool { return len(o.results[c.name][f.key]) > 0 })
}

// disturbance says how far the figures can be trusted.
func (o *outcome) disturbance() string {
	if len(o.foreign) == 0 {
		return "Nothing that takes time was measured."
	}
	worst := slices.Max(o.foreign)
	text := fmt.Sprintf("Other programs used %.0f %% of the processors, at worst %.0f %%; of %d measurements %d were thrown away for it.",
		100*median(o.foreign), 100*worst, len(o.foreign)+o.repeated, o.repeated)
	if worst > tolerated {
		text += "\nWARNING: times and rates above are too bad by that; on an idle machine they would be better."
	}
	return text
}

func (o *outcome) arrangement() string {
	if o.settings.processes == 1 {
		return "Client and server share a process where both are of one kind."
	}
	return "Client and server are two processes."
}

func (f figure) cell(rounds []float64) string {
	if len(rounds) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.*f ±%2.0f%%", f.digits, median(rounds), 100*spread(rounds))
}

func (j judgement) needed() string {
	if j.need == 0 {
		return "–"
	}
	sign := "≤"
	if figureByKey(j.figure).higher {
		sign = "≥"
	}
	return sign + " " + strconv.FormatFloat(j.need, 'f', -1, 64) + j.times()
}

func (j judgement) times() string {
	if j.than != "" {
		return " ×"
	}
	return ""
}

func (j judgement) digits() int {
	if j.than != "" {
		return 2
	}
	return figureByKey(j.figure).digits
}

// number is got, or one of the figures about it, as the table shows it.
func (j judgement) number(value float64) string {
	if !j.measured() {
		return "–"
	}
	return fmt.Sprintf("%.*f%s", j.digits(), value, j.times())
}

func (j judgement) verdict() string {
	switch {
	case !j.measured():
		return "not measured"
	case j.need == 0:
		return "to compare"
	case j.met():
		return "met"
	default:
		return "not met"
	}
}

// The JSON has the same content as the table, and the rounds.
type jsonReport struct {
	Environment environment      `json:"environment"`
	Settings    jsonSettings     `json:"settings"`
	Disturbance jsonDisturbance  `json:"disturbance"`
	Contestants []jsonContestant `json:"contestants"`
	Figures     []jsonFigure     `json:"figures"`
	Targets     []jsonTarget     `json:"targets"`
}

type jsonSettings struct {
	Time        time.Time `json:"time"`
	Rounds      int       `json:"rounds"`
	Seconds     float64   `json:"seconds"`
	WarmUp      float64   `json:"warm_up_seconds"`
	Connections int       `json:"connections_held"`
	RoundTripMS float64   `json:"round_trip_ms"`
	Processes   int       `json:"processes"`
	CallSize    int       `json:"call_size"`
}

// Parts of the processors that other programs used during a measurement.
type jsonDisturbance struct {
	Median   float64 `json:"median"`
	Worst    float64 `json:"worst"`
	Measured int     `json:"measured"`
	Repeated int     `json:"repeated"`
}

type jsonContestant struct {
	Name    string `json:"name"`
	Title   string `json:"title"`
	Client  string `json:"client"`
	Server  string `json:"server"`
	TLS     string `json:"tls,omitempty"`
	Skipped string `json:"skipped,omitempty"`
}

type jsonFigure struct {
	Key    string                `json:"key"`
	Title  string                `json:"title"`
	Unit   string                `json:"unit,omitempty"`
	Better string                `json:"better"`
	Values map[string]jsonValues `json:"values"` // by contestant
}

type jsonValues struct {
	Median float64   `json:"median"`
	Spread float64   `json:"spread"`
	Rounds []float64 `json:"rounds"`
}

type jsonTarget struct {
	Title  string   `json:"title"`
	Figure string   `json:"figure"`
	Than   string   `json:"than,omitempty"`
	Need   float64  `json:"need,omitempty"` // absent in a comparison that is no target
	Got    *float64 `json:"got"`
	Middle *float64 `json:"median_of_rounds"`
	Least  *float64 `json:"least"`
	Most   *float64 `json:"most"`
	Met    *bool    `json:"met"`
}

func (o *outcome) writeJSON(w io.Writer) error {
	report := jsonReport{
		Environment: o.environment,
		Settings: jsonSettings{
			Time: time.Now().UTC().Truncate(time.Second), Rounds: o.rounds,
			Seconds: o.settings.seconds, WarmUp: o.settings.warmUp,
			Connections: o.settings.connections, RoundTripMS: o.settings.roundTrip.Seconds() * milli,
			Processes: o.settings.processes, CallSize: callSize,
		},
		Disturbance: jsonDisturbance{Measured: len(o.foreign), Repeated: o.repeated},
	}
	if len(o.foreign) > 0 {
		report.Disturbance.Median, report.Disturbance.Worst = median(o.foreign), slices.Max(o.foreign)
	}
	for _, c := range contestants {
		why, skipped := o.skipped[c.name]
		if !skipped && !slices.Contains(o.contestants, c) {
			continue
		}
		described := jsonContestant{Name: c.name, Title: c.title, Client: c.client, Server: c.server, Skipped: why}
		if !skipped && !c.overUDP() {
			described.TLS = o.hellos[c.name].String()
		}
		report.Contestants = append(report.Contestants, described)
	}
	for _, f := range figures {
		described := jsonFigure{
			Key: f.key, Title: f.title, Unit: f.unit, Better: "lower",
			Values: make(map[string]jsonValues),
		}
		if f.higher {
			described.Better = "higher"
		}
		for _, c := range o.contestants {
			if rounds := o.results[c.name][f.key]; len(rounds) > 0 {
				described.Values[c.name] = jsonValues{median(rounds), spread(rounds), rounds}
			}
		}
		report.Figures = append(report.Figures, described)
	}
	for _, t := range targets {
		described := jsonTarget{Title: t.title, Figure: t.figure, Than: t.than, Need: t.need}
		if j := t.judge(o.results); j.measured() {
			described.Got, described.Middle, described.Least, described.Most = &j.got, &j.middle, &j.least, &j.most
			if t.need != 0 {
				described.Met = new(j.met())
			}
		}
		report.Targets = append(report.Targets, described)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}
