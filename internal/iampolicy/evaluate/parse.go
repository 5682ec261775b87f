package evaluate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

var errSyntax = &Malformed{"Syntax errors in policy."}

// Parse reads a policy and checks it as IAM does when it is stored. The error is a *Malformed.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
func Parse(text string, kind Kind) (*Policy, error) {
	p, err := parse(text, kind)
	if err != nil {
		return nil, err
	}
	return p, nil
}

type member struct {
	key        string
	value      json.RawMessage
	start, end int // of the value, from the beginning of the object
}

// object reads a JSON object. encoding/json would let a member stand twice and ignore case; IAM does not.
func object(data []byte) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errSyntax
	}
	var out []member
	for d.More() {
		t, err := d.Token()
		key, ok := t.(string)
		if err != nil || !ok || slices.ContainsFunc(out, func(m member) bool { return m.key == key }) {
			return nil, errSyntax
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, errSyntax
		}
		end := int(d.InputOffset())
		out = append(out, member{key, v, end - len(v), end})
	}
	if _, err := d.Token(); err != nil {
		return nil, errSyntax
	}
	if len(bytes.TrimSpace(data[d.InputOffset():])) > 0 {
		return nil, errSyntax
	}
	return out, nil
}

// text reads a string.
func text(v json.RawMessage) (string, error) {
	var s string
	if len(v) == 0 || v[0] != '"' || json.Unmarshal(v, &s) != nil {
		return "", errSyntax
	}
	return s, nil
}

// texts reads a string or a list of strings.
func texts(v json.RawMessage) ([]string, error) {
	if len(v) > 0 && v[0] == '"' {
		s, err := text(v)
		return []string{s}, err
	}
	var raw []json.RawMessage
	if len(v) == 0 || v[0] != '[' || json.Unmarshal(v, &raw) != nil {
		return nil, errSyntax
	}
	out := make([]string, 0, len(raw))
	for _, r := range raw {
		s, err := text(r)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func parse(doc string, kind Kind) (*Policy, error) {
	members, err := object([]byte(doc))
	if err != nil {
		return nil, err
	}
	p := &Policy{Version: "2008-10-17"}
	seen := false
	for _, m := range members {
		switch m.key {
		case "Version":
			if p.Version, err = text(m.value); err == nil && p.Version != "2012-10-17" && p.Version != "2008-10-17" {
				err = errSyntax
			}
		case "Id":
			p.ID, err = text(m.value)
		case "Statement":
			seen = true
			p.Statements, err = statements(m, kind)
		default:
			err = errSyntax
		}
		if err != nil {
			return nil, err
		}
	}
	if !seen || len(p.Statements) == 0 && kind != Identity {
		return nil, errSyntax
	}
	sids := map[string]bool{}
	for _, st := range p.Statements {
		if st.Sid != "" && sids[st.Sid] {
			return nil, &Malformed{"Statement IDs (SID) in a single policy must be unique."}
		}
		sids[st.Sid] = true
	}
	return p, nil
}

func statements(m member, kind Kind) ([]Statement, error) {
	raw := []member{m}
	if len(m.value) > 0 && m.value[0] == '[' {
		raw = nil
		d := json.NewDecoder(bytes.NewReader(m.value))
		_, _ = d.Token() // the bracket that was seen
		for d.More() {
			var v json.RawMessage
			if err := d.Decode(&v); err != nil {
				return nil, errSyntax
			}
			end := m.start + int(d.InputOffset())
			raw = append(raw, member{"", v, end - len(v), end})
		}
	}
	out := make([]Statement, 0, len(raw))
	for _, r := range raw {
		st, err := statement(r.value, kind)
		if err != nil {
			return nil, err
		}
		st.Start, st.End = r.start, r.end
		out = append(out, st)
	}
	return out, nil
}

func statement(data json.RawMessage, kind Kind) (Statement, error) {
	var st Statement
	members, err := object(data)
	if err != nil {
		return st, err
	}
	effect := ""
	for _, m := range members {
		switch m.key {
		case "Sid":
			if st.Sid, err = text(m.value); err == nil && !validSid(st.Sid, kind) {
				err = &Malformed{"Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"}
			}
		case "Effect":
			effect, err = text(m.value)
		case "Action":
			st.Actions, err = texts(m.value)
		case "NotAction":
			st.NotActions, err = texts(m.value)
		case "Resource":
			st.Resources, err = texts(m.value)
		case "NotResource":
			st.NotResources, err = texts(m.value)
		case "Principal", "NotPrincipal":
			if st.Principals != nil {
				return st, errSyntax
			}
			st.Principals, err = principals(m)
		case "Condition":
			st.Conditions, err = conditions(m.value)
		default:
			err = errSyntax
		}
		if err != nil {
			return st, err
		}
	}
	if effect != "Allow" && effect != "Deny" {
		return st, errSyntax
	}
	st.Allow = effect == "Allow"
	return st, st.check(kind)
}

func validSid(s string, kind Kind) bool {
	if kind != Identity { // resources' policies may have names with blanks
		return true
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

func principals(m member) (*Principals, error) {
	p := &Principals{Not: m.key == "NotPrincipal"}
	if len(m.value) > 0 && m.value[0] == '"' {
		s, err := text(m.value)
		if err != nil || s != "*" {
			return nil, &Malformed{"Invalid principal in policy."}
		}
		p.Everyone = true
		return p, nil
	}
	members, err := object(m.value)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		names, err := texts(m.value)
		if err != nil {
			return nil, err
		}
		switch m.key {
		case "AWS":
			for _, n := range names {
				if n == "*" {
					p.Everyone = true
				} else if !validPrincipal(n) {
					return nil, &Malformed{fmt.Sprintf("Invalid principal in policy: %q:%q", m.key, n)}
				}
			}
			p.AWS = names
		case "Service":
			p.Service = names
		case "Federated":
			p.Federated = names
		case "CanonicalUser":
			p.Canonical = names
		default:
			return nil, &Malformed{"Invalid principal in policy."}
		}
	}
	return p, nil
}

func isAccount(s string) bool { return len(s) == 12 && strings.Trim(s, "0123456789") == "" }

func validPrincipal(s string) bool {
	part := strings.SplitN(s, ":", 6)
	return isAccount(s) || len(part) == 6 && part[0] == "arn" && (part[2] == "iam" || part[2] == "sts") && isAccount(part[4]) && part[5] != "" ||
		(strings.HasPrefix(s, "AROA") || strings.HasPrefix(s, "AIDA")) && !strings.Contains(s, ":") // what is left of a deleted role or user
}

func (st *Statement) check(kind Kind) error {
	if len(st.Actions) == 0 && len(st.NotActions) == 0 {
		if kind == Trust {
			return &Malformed{"Missing required field Action"}
		}
		return &Malformed{"Policy statement must contain actions."}
	}
	if len(st.Actions) > 0 && len(st.NotActions) > 0 || len(st.Resources) > 0 && len(st.NotResources) > 0 {
		return errSyntax
	}
	for _, a := range slices.Concat(st.Actions, st.NotActions) {
		vendor, name, ok := strings.Cut(a, ":")
		switch {
		case a == "*":
		case !ok:
			return &Malformed{"Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."}
		case vendor == "" || strings.ContainsAny(vendor, " \t*?"):
			return &Malformed{"Vendor " + vendor + " is not valid"}
		case name == "" || strings.ContainsAny(name, ": \t"):
			return &Malformed{"Actions/Condition can contain only one colon."}
		case kind == Trust && !strings.EqualFold(vendor, "sts"):
			return &Malformed{"AssumeRole policy may only specify STS AssumeRole actions."}
		}
	}
	named := len(st.Resources)+len(st.NotResources) > 0
	switch {
	case kind == Identity && st.Principals != nil:
		return &Malformed{"Policy document should not specify a principal."}
	case kind != Identity && st.Principals == nil:
		return &Malformed{"Missing required field Principal"}
	case kind == Trust && named:
		return &Malformed{"Has prohibited field Resource"}
	case (kind == Identity || kind == Resource) && !named:
		return &Malformed{"Policy statement must contain resources."}
	}
	for _, r := range slices.Concat(st.Resources, st.NotResources) {
		if part := strings.SplitN(r, ":", 6); r != "*" && (len(part) < 6 && !strings.HasSuffix(r, "*") || part[0] != "arn" && !strings.HasPrefix(r, "*")) {
			return &Malformed{fmt.Sprintf("Resource %s must be in ARN format or \"*\".", r)}
		}
	}
	return nil
}

func conditions(data json.RawMessage) ([]Condition, error) {
	operators, err := object(data)
	if err != nil {
		return nil, err
	}
	var out []Condition
	for _, o := range operators {
		c := Condition{Operator: o.key}
		if rest, ok := strings.CutPrefix(c.Operator, "ForAllValues:"); ok {
			c.Operator, c.ForAll = rest, true
		} else if rest, ok := strings.CutPrefix(c.Operator, "ForAnyValue:"); ok {
			c.Operator, c.ForAny = rest, true
		}
		c.Operator, c.IfExists = strings.CutSuffix(c.Operator, "IfExists")
		name, ok := operator(c.Operator)
		if !ok || c.IfExists && name == "Null" {
			return nil, &Malformed{"Invalid Condition type : " + o.key + "."}
		}
		c.Operator = name
		keys, err := object(o.value)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if c.Key = k.key; !strings.Contains(c.Key, ":") {
				return nil, &Malformed{"Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."}
			}
			if c.Values, err = scalars(k.value); err != nil {
				return nil, err
			}
			for _, v := range c.Values {
				if !validValue(name, v) {
					return nil, errSyntax
				}
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// scalars reads condition values: strings, numbers and booleans, one or a list.
func scalars(v json.RawMessage) ([]string, error) {
	raw := []json.RawMessage{v}
	if len(v) > 0 && v[0] == '[' {
		if json.Unmarshal(v, &raw) != nil {
			return nil, errSyntax
		}
	}
	out := make([]string, 0, len(raw))
	for _, r := range raw {
		s := string(r)
		if len(r) > 0 && r[0] == '"' {
			var err error
			if s, err = text(r); err != nil {
				return nil, err
			}
		} else if s != "true" && s != "false" && strings.Trim(s, "0123456789+-.eE") != "" || s == "" {
			return nil, errSyntax
		}
		out = append(out, s)
	}
	return out, nil
}
