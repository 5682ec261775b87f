package logs

import (
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// pattern is a filter pattern of terms for unstructured events
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html): all plain
// terms must be in the message, at least one of the ?terms, none of the -terms.
type pattern struct{ all, any, none []string }

func parsePattern(s string) (pattern, error) {
	var p pattern
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "{") || strings.HasPrefix(s, "[") || strings.HasPrefix(s, "%") {
		return p, wire.Errorf("InvalidParameterException", "not supported: JSON, space-delimited and regular-expression filter patterns; use terms")
	}
	for s != "" {
		var sign byte
		if s[0] == '?' || s[0] == '-' {
			sign, s = s[0], s[1:]
		}
		var term string
		if strings.HasPrefix(s, `"`) {
			end := strings.Index(s[1:], `"`)
			if end < 0 {
				return p, wire.Errorf("InvalidParameterException", "Invalid filter pattern: a quote is not closed")
			}
			term, s = s[1:end+1], s[end+2:]
		} else {
			term, s, _ = strings.Cut(s, " ")
		}
		s = strings.TrimSpace(s)
		switch sign {
		case '?':
			p.any = append(p.any, term)
		case '-':
			p.none = append(p.none, term)
		default:
			p.all = append(p.all, term)
		}
	}
	return p, nil
}

func (p pattern) match(msg string) bool {
	for _, t := range p.all {
		if !strings.Contains(msg, t) {
			return false
		}
	}
	for _, t := range p.none {
		if strings.Contains(msg, t) {
			return false
		}
	}
	if len(p.all) > 0 || len(p.any) == 0 { // with plain terms, ?terms are optional
		return true
	}
	for _, t := range p.any {
		if strings.Contains(msg, t) {
			return true
		}
	}
	return false
}
