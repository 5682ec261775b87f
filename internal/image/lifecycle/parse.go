package lifecycle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// String is the violation with the rule it is in.
func (v Violation) String() string {
	var b strings.Builder
	switch {
	case v.Rule == 0:
		b.WriteString("policy")
	case v.Priority > 0:
		fmt.Fprintf(&b, "rule %d (rulePriority %d)", v.Rule, v.Priority)
	default:
		fmt.Fprintf(&b, "rule %d", v.Rule)
	}
	if v.Field != "" {
		b.WriteString(": " + v.Field)
	}
	return b.String() + ": " + v.Message
}

// Parse reads a policy and returns every violation found. The policy is usable only when there is
// none. Member names and values are matched exactly, as ECR does.
func Parse(text string) (Policy, []Violation) {
	p := &parser{}
	if n := utf8.RuneCountInString(text); n < MinTextLength || n > MaxTextLength {
		p.add(0, "", "the text has %d characters; ECR takes %d to %d", n, MinTextLength, MaxTextLength)
	}
	doc, err := decode(text)
	if err != nil {
		p.add(0, "", "not JSON: %v", err)
		return Policy{}, p.found
	}
	top, ok := doc.(map[string]any)
	if !ok {
		p.add(0, "", "must be an object, is %s", kind(doc))
		return Policy{}, p.found
	}
	p.members(0, "", top, []string{"rules"}, nil)
	list, ok := top["rules"].([]any)
	if !ok {
		if v, there := top["rules"]; there {
			p.add(0, "rules", "must be a list, is %s", kind(v))
		}
		return Policy{}, p.found
	}
	if len(list) == 0 || len(list) > MaxRules {
		p.add(0, "rules", "has %d rules; ECR takes 1 to %d", len(list), MaxRules)
	}
	var pol Policy
	p.priorities = make([]int, len(list))
	for i, v := range list {
		pol.Rules = append(pol.Rules, p.rule(i+1, v))
	}
	p.together(pol.Rules)
	for i := range p.found {
		if r := p.found[i].Rule; r > 0 {
			p.found[i].Priority = p.priorities[r-1]
		}
	}
	sort.SliceStable(p.found, func(i, j int) bool { return p.found[i].Rule < p.found[j].Rule })
	if len(p.found) > 0 {
		return Policy{}, p.found
	}
	slices.SortFunc(pol.Rules, func(a, b Rule) int { return a.Priority - b.Priority })
	return pol, nil
}

func decode(text string) (any, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("empty")
		}
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more text after the policy")
	}
	return doc, nil
}

type parser struct {
	found      []Violation
	priorities []int // of the rules by position; 0: unusable
}

func (p *parser) add(rule int, field, format string, args ...any) {
	p.found = append(p.found, Violation{Rule: rule, Field: field, Message: fmt.Sprintf(format, args...)})
}

// members reports missing and unknown members of an object.
func (p *parser) members(rule int, path string, obj map[string]any, required, optional []string) {
	for _, name := range required {
		if _, ok := obj[name]; !ok {
			p.add(rule, join(path, name), "is required")
		}
	}
	for _, name := range sortedKeys(obj) {
		if !slices.Contains(required, name) && !slices.Contains(optional, name) {
			p.add(rule, join(path, name), "is not a member ECR knows here%s", nearest(name, required, optional))
		}
	}
}

func (p *parser) rule(n int, v any) Rule {
	var r Rule
	obj, ok := v.(map[string]any)
	if !ok {
		p.add(n, "", "must be an object, is %s", kind(v))
		return r
	}
	p.members(n, "", obj, []string{"rulePriority", "selection", "action"}, []string{"description"})
	if pr, ok := p.number(n, "", "rulePriority", obj); ok {
		r.Priority, p.priorities[n-1] = pr, pr
	}
	if d, there := obj["description"]; there {
		if r.Description, ok = d.(string); !ok {
			p.add(n, "description", "must be a string, is %s", kind(d))
		}
	}
	if sel, ok := p.object(n, "selection", obj); ok {
		r.Selection = p.selection(n, sel)
	}
	if act, ok := p.object(n, "action", obj); ok {
		r.Action = p.action(n, act)
	}
	p.pair(n, r)
	return r
}

func (p *parser) selection(n int, obj map[string]any) Selection {
	const at = "selection"
	p.members(n, at, obj, []string{"tagStatus", "countType", "countNumber"},
		[]string{"tagPrefixList", "tagPatternList", "storageClass", "countUnit"})
	s := Selection{
		TagStatus:    TagStatus(p.enum(n, at, "tagStatus", obj, string(Tagged), string(Untagged), string(Any))),
		StorageClass: StorageClass(p.enum(n, at, "storageClass", obj, string(Standard), string(Archive))),
		CountType: CountType(p.enum(n, at, "countType", obj, string(ImageCountMoreThan), string(SinceImagePushed),
			string(SinceImagePulled), string(SinceImageTransitioned))),
	}
	number, numberOK := p.number(n, at, "countNumber", obj)
	s.CountNumber = number
	p.tagLists(n, obj, &s)
	p.countUnit(n, obj, s.CountType)

	_, classGiven := obj["storageClass"]
	switch {
	case s.CountType == SinceImageTransitioned && !classGiven:
		p.add(n, at+".storageClass", "is required (archive) when countType is sinceImageTransitioned")
	case s.CountType == SinceImageTransitioned && s.StorageClass == Standard:
		p.add(n, at+".storageClass", "must be archive when countType is sinceImageTransitioned")
	case s.CountType != SinceImageTransitioned && s.CountType != "" && s.StorageClass == Archive:
		p.add(n, at+".storageClass", "must be standard when countType is %s; archive goes only with sinceImageTransitioned", s.CountType)
	}
	if s.CountType == SinceImageTransitioned && numberOK && number < MinArchivedDays {
		p.add(n, at+".countNumber", "is %d; an archived image stays at least %d days", number, MinArchivedDays)
	}
	if s.StorageClass == "" {
		s.StorageClass = Standard
		if s.CountType == SinceImageTransitioned {
			s.StorageClass = Archive // so that the checks between rules see what was meant
		}
	}
	return s
}

func (p *parser) tagLists(n int, obj map[string]any, s *Selection) {
	_, prefixGiven := obj["tagPrefixList"]
	_, patternGiven := obj["tagPatternList"]
	s.TagPrefixes = p.strings(n, "selection.tagPrefixList", obj["tagPrefixList"], prefixGiven)
	s.TagPatterns = p.strings(n, "selection.tagPatternList", obj["tagPatternList"], patternGiven)
	for _, pat := range s.TagPatterns {
		if c := strings.Count(pat, "*"); c > MaxWildcards {
			p.add(n, "selection.tagPatternList", "%q has %d wildcards; ECR takes up to %d in one pattern", pat, c, MaxWildcards)
		}
	}
	switch s.TagStatus {
	case Tagged:
		switch {
		case prefixGiven && patternGiven:
			p.add(n, "selection", "has both tagPrefixList and tagPatternList; a rule takes one of them")
		case !prefixGiven && !patternGiven:
			p.add(n, "selection", "needs tagPrefixList or tagPatternList when tagStatus is tagged")
		}
	case Untagged, Any:
		if prefixGiven {
			p.add(n, "selection.tagPrefixList", "must be omitted when tagStatus is %s", s.TagStatus)
		}
		if patternGiven {
			p.add(n, "selection.tagPatternList", "must be omitted when tagStatus is %s", s.TagStatus)
		}
	}
}

func (p *parser) countUnit(n int, obj map[string]any, ct CountType) {
	const at = "selection.countUnit"
	v, given := obj["countUnit"]
	switch {
	case given && ct == ImageCountMoreThan:
		p.add(n, at, "must be omitted when countType is imageCountMoreThan")
	case given && v != "days":
		p.add(n, at, "is %s; the one value is \"days\"", show(v))
	case !given && ct != "" && ct != ImageCountMoreThan:
		p.add(n, at, "is required (days) when countType is %s", ct)
	}
}

func (p *parser) action(n int, obj map[string]any) Action {
	const at = "action"
	p.members(n, at, obj, []string{"type"}, []string{"targetStorageClass"})
	a := Action{
		Type:               ActionType(p.enum(n, at, "type", obj, string(Expire), string(Transition))),
		TargetStorageClass: StorageClass(p.enum(n, at, "targetStorageClass", obj, string(Archive))),
	}
	_, given := obj["targetStorageClass"]
	switch {
	case a.Type == Transition && !given:
		p.add(n, at+".targetStorageClass", "is required (archive) when type is transition")
	case a.Type == Expire && given:
		p.add(n, at+".targetStorageClass", "must be omitted when type is expire")
	}
	return a
}

// pair checks what the count type and the action allow each other.
func (p *parser) pair(n int, r Rule) {
	switch ct, at := r.Selection.CountType, r.Action.Type; {
	case ct == SinceImagePulled && at == Expire:
		p.add(n, "action.type", "must be transition when countType is sinceImagePulled; expire archived images with sinceImageTransitioned")
	case ct == SinceImageTransitioned && at == Transition:
		p.add(n, "action.type", "must be expire when countType is sinceImageTransitioned")
	}
}

// together checks what the rules may not be beside each other. Each check is per storage class, and
// rules with the member missing or wrong are left out: they have their own violation.
func (p *parser) together(rules []Rule) {
	byPriority := map[int]int{}
	untagged := map[StorageClass]int{}
	lists := map[string]int{}
	for i, r := range rules {
		n := i + 1
		if pr := p.priorities[i]; pr > 0 {
			if first, dup := byPriority[pr]; dup {
				p.add(n, "rulePriority", "%d is also the priority of rule %d; each rule needs its own", pr, first)
			} else {
				byPriority[pr] = n
			}
		}
		class := r.Selection.StorageClass
		if r.Selection.TagStatus == Untagged {
			if first, dup := untagged[class]; dup {
				p.add(n, "selection.tagStatus", "rule %d selects untagged images too; only one rule per storage class (%s) may", first, class)
			} else {
				untagged[class] = n
			}
		}
		if len(r.Selection.TagPrefixes) > 0 && r.Selection.TagStatus == Tagged {
			set := slices.Compact(slices.Sorted(slices.Values(r.Selection.TagPrefixes)))
			key := string(class) + "\x00" + strings.Join(set, "\x00")
			if first, dup := lists[key]; dup {
				p.add(n, "selection.tagPrefixList", "rule %d has the same prefixes; each rule of a storage class (%s) needs its own set", first, class)
			} else {
				lists[key] = n
			}
		}
	}
	p.anyLast(rules)
}

// anyLast checks that a rule with tagStatus any has the highest rulePriority of its storage class.
func (p *parser) anyLast(rules []Rule) {
	for i, r := range rules {
		if r.Selection.TagStatus != Any || p.priorities[i] == 0 {
			continue
		}
		for j, other := range rules {
			same := other.Selection.StorageClass == r.Selection.StorageClass && other.Selection.TagStatus != ""
			if j != i && same && p.priorities[j] > r.Priority {
				p.add(i+1, "rulePriority", "a rule with tagStatus any must have the highest rulePriority of its storage class (%s); rule %d has %d",
					r.Selection.StorageClass, j+1, p.priorities[j])
				break
			}
		}
	}
}

func (p *parser) object(n int, name string, in map[string]any) (map[string]any, bool) {
	v, there := in[name]
	if !there {
		return nil, false
	}
	obj, ok := v.(map[string]any)
	if !ok {
		p.add(n, name, "must be an object, is %s", kind(v))
	}
	return obj, ok
}

func (p *parser) enum(n int, path, name string, in map[string]any, values ...string) string {
	v, there := in[name]
	if !there {
		return ""
	}
	if s, ok := v.(string); ok && slices.Contains(values, s) {
		return s
	}
	p.add(n, join(path, name), "is %s; the values are %s", show(v), strings.Join(values, ", "))
	return ""
}

// number reads a positive integer.
func (p *parser) number(n int, path, name string, in map[string]any) (int, bool) {
	v, there := in[name]
	if !there {
		return 0, false
	}
	num, ok := v.(json.Number)
	if !ok {
		p.add(n, join(path, name), "must be a positive integer, is %s", kind(v))
		return 0, false
	}
	i, err := strconv.ParseInt(num.String(), 10, 64)
	if err != nil || i < 1 || i > maxNumber {
		p.add(n, join(path, name), "is %s; must be an integer from 1 to %d", num, maxNumber)
		return 0, false
	}
	return int(i), true
}

func (p *parser) strings(n int, path string, v any, given bool) []string {
	if !given {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		p.add(n, path, "must be a list of strings, is %s", kind(v))
		return nil
	}
	if len(list) == 0 {
		p.add(n, path, "is empty")
	}
	var out []string
	for i, e := range list {
		s, ok := e.(string)
		switch {
		case !ok:
			p.add(n, path, "entry %d must be a string, is %s", i+1, kind(e))
		case s == "":
			p.add(n, path, "entry %d is empty", i+1)
		default:
			out = append(out, s)
		}
	}
	return out
}

// nearest hints at the member that differs from name only by case.
func nearest(name string, lists ...[]string) string {
	for _, l := range lists {
		for _, known := range l {
			if strings.EqualFold(name, known) {
				return "; did you mean " + known + "?"
			}
		}
	}
	return ""
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case bool:
		return "a boolean"
	case []any:
		return "a list"
	default:
		return "an object"
	}
}

func show(v any) string {
	if s, ok := v.(string); ok {
		return strconv.Quote(s)
	}
	return kind(v)
}
