package docs

import (
	"fmt"
	"html"
	"strings"
	"unicode/utf8"
)

const (
	columns    = 104 // longer lines are folded
	charWidth  = 8.0 // pixels; the text is stretched to it, so that no font shifts it
	lineHeight = 18.0
	padding    = 16.0
	titleBar   = 34.0
)

// span is text in one style.
type span struct {
	style string // a class of the SVG: "", "bold", "dim", "red", "green"
	text  string
}

// Terminal is a picture of what a program wrote to a terminal: its text with the colours that
// internal/cli uses. Details, which are indented and dim, are left out.
func Terminal(title, transcript string) string {
	var lines [][]span
	for l := range strings.SplitSeq(strings.Trim(transcript, "\n"), "\n") {
		if strings.HasPrefix(l, "     \x1b[2m") { // what Terraform, ko and the tests write
			continue
		}
		lines = append(lines, fold(spans(strings.TrimRight(l, "\r")), columns)...)
	}
	width := columns*charWidth + 2*padding
	height := titleBar + float64(len(lines))*lineHeight + padding
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">
<!-- Generated from a real run: go generate ./internal/docs -->
<style>
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d5d9e0; white-space: pre }
.bold { font-weight: 700; fill: #ffffff } .dim { fill: #8b93a1 } .red { fill: #ff7b72 } .green { fill: #56d364 }
</style>
<rect width="100%%" height="100%%" rx="8" fill="#14181f"/>
<circle cx="20" cy="17" r="5" fill="#3a414d"/><circle cx="38" cy="17" r="5" fill="#3a414d"/><circle cx="56" cy="17" r="5" fill="#3a414d"/>
<text x="76" y="22" class="dim">%s</text>
`, width, height, width, height, html.EscapeString(title), html.EscapeString(title))
	for i, line := range lines {
		x, y := padding, titleBar+float64(i+1)*lineHeight-5
		for _, s := range line {
			n := float64(utf8.RuneCountInString(s.text)) * charWidth
			if strings.TrimSpace(s.text) != "" {
				class := ""
				if s.style != "" {
					class = ` class="` + s.style + `"`
				}
				fmt.Fprintf(&b, "<text x=\"%.0f\" y=\"%.0f\" textLength=\"%.0f\" xml:space=\"preserve\"%s>%s</text>\n", x, y, n, class, html.EscapeString(s.text))
			}
			x += n
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

var styles = map[string]string{"0": "", "": "", "1": "bold", "2": "dim", "31": "red", "32": "green"}

// spans splits a line at its colour codes; codes that nobody here writes are dropped.
func spans(line string) []span {
	var out []span
	style := ""
	for line != "" {
		text, rest, found := strings.Cut(line, "\x1b[")
		if text != "" {
			out = append(out, span{style, text})
		}
		if !found {
			break
		}
		code, after, ok := strings.Cut(rest, "m")
		if !ok {
			break
		}
		style, line = styles[code], after
	}
	return out
}

// fold breaks what is longer than width; what follows is indented as the line was, and two more.
func fold(line []span, width int) [][]span {
	indent := 2
	if len(line) > 0 {
		indent += len(line[0].text) - len(strings.TrimLeft(line[0].text, " "))
	}
	var out [][]span
	var now []span
	used := 0
	for _, s := range line {
		text := []rune(s.text)
		for used+len(text) > width {
			at := width - used
			for at > 0 && text[at-1] != ' ' { // between words
				at--
			}
			if at == 0 && used <= indent { // one long word
				at = width - used
			}
			now = append(now, span{s.style, string(text[:at])})
			out, now, used = append(out, now), []span{{"", strings.Repeat(" ", indent)}}, indent
			text = text[at:]
		}
		if len(text) > 0 {
			now = append(now, span{s.style, string(text)})
			used += len(text)
		}
	}
	return append(out, now)
}
