package events

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Path finds what a JSON path of the form $.a.b[0].c names; false if it names nothing
// (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html).
func Path(event any, path string) (any, bool) {
	rest, ok := strings.CutPrefix(path, "$")
	if !ok {
		return nil, false
	}
	v := event
	for rest != "" {
		if index, after, ok := strings.Cut(strings.TrimPrefix(rest, "["), "]"); ok && rest[0] == '[' {
			rest = after
			if name := strings.Trim(index, `'"`); name != index {
				m, _ := v.(map[string]any)
				if v, ok = m[name]; !ok {
					return nil, false
				}
				continue
			}
			list, _ := v.([]any)
			n, err := strconv.Atoi(index)
			if err != nil || n < 0 || n >= len(list) {
				return nil, false
			}
			v = list[n]
			continue
		}
		rest, ok = strings.CutPrefix(rest, ".")
		if !ok {
			return nil, false
		}
		end := strings.IndexAny(rest, ".[")
		if end < 0 {
			end = len(rest)
		}
		m, _ := v.(map[string]any)
		if v, ok = m[rest[:end]]; !ok {
			return nil, false
		}
		rest = rest[end:]
	}
	return v, true
}

var placeholder = regexp.MustCompile(`<([A-Za-z0-9_.-]+)>`)

// Transform fills an input template with values found in the event. Inside a JSON string a value
// goes in as its text; elsewhere as JSON. Names that no path gives are left as they are, and what a
// path does not find becomes nothing, as EventBridge does.
func Transform(event any, paths map[string]string, template string, own map[string]string) string {
	var b strings.Builder
	last := 0
	quoted := false
	for _, m := range placeholder.FindAllStringSubmatchIndex(template, -1) {
		for i := last; i < m[0]; i++ {
			if template[i] == '"' && (i == 0 || template[i-1] != '\\') {
				quoted = !quoted
			}
		}
		b.WriteString(template[last:m[0]])
		last = m[1]
		name := template[m[2]:m[3]]
		if text, ok := own[name]; ok {
			if strings.HasPrefix(text, "{") || quoted {
				b.WriteString(text)
			} else {
				b.WriteString(quote(text))
			}
			continue
		}
		path, ok := paths[name]
		if !ok {
			b.WriteString(template[m[0]:m[1]])
			continue
		}
		v, found := Path(event, path)
		if !found {
			continue
		}
		if s, ok := v.(string); ok && quoted {
			q := quote(s)
			b.WriteString(q[1 : len(q)-1])
			continue
		}
		text, err := json.Marshal(v)
		if err != nil {
			continue // it came from JSON
		}
		if quoted {
			b.WriteString(strings.ReplaceAll(string(text), `"`, `\"`))
			continue
		}
		b.Write(text)
	}
	b.WriteString(template[last:])
	return b.String()
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""` // strings always are JSON
	}
	return string(b)
}

// CheckTemplate says what is wrong with a transformer.
func CheckTemplate(paths map[string]string, template string) error {
	if strings.TrimSpace(template) == "" {
		return fmt.Errorf("InputTemplate must not be empty")
	}
	for _, m := range placeholder.FindAllStringSubmatch(template, -1) {
		if _, ok := paths[m[1]]; !ok && !strings.HasPrefix(m[1], "aws.events.") {
			return fmt.Errorf("Invalid InputTemplate for target: no input path for <%s>", m[1])
		}
	}
	return nil
}
