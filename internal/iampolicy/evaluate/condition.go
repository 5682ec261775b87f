package evaluate

import (
	"encoding/base64"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// operators are the condition operators without Not, set operators and IfExists; in their own spelling.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
var operators = []string{
	"StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike",
	"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals",
	"DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals",
	"Bool", "BinaryEquals", "IpAddress", "NotIpAddress", "ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike", "Null",
}

// operator finds an operator's own spelling.
func operator(name string) (string, bool) {
	for _, o := range operators {
		if strings.EqualFold(o, name) {
			return o, true
		}
	}
	return "", false
}

func validValue(op, v string) bool {
	if strings.Contains(v, "${") {
		return true
	}
	switch {
	case op == "Bool" || op == "Null":
		return strings.EqualFold(v, "true") || strings.EqualFold(v, "false")
	case strings.HasPrefix(op, "Numeric"):
		_, ok := number(v)
		return ok
	case strings.HasPrefix(op, "Date"):
		_, ok := date(v)
		return ok
	case strings.HasSuffix(op, "IpAddress"):
		_, ok := network(v)
		return ok
	case op == "BinaryEquals":
		_, err := base64.StdEncoding.DecodeString(v)
		return err == nil
	}
	return true
}

func number(s string) (float64, bool) {
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
}

// date reads a W3C date (its ISO 8601 profile) or seconds since 1970.
func date(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02", "2006-01", "2006"} {
		if t, err := time.Parse(layout, s); err == nil && (len(s) != 4 || layout == "2006") {
			return t, true
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return time.Unix(n, 0), err == nil
}

func network(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// holds reports whether a condition is met.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-logic-multiple-context-keys-or-values.html
func (c Condition) holds(r *Request, version string) bool {
	have, there := r.values(c.Key)
	if c.Operator == "Null" {
		return slices.ContainsFunc(c.Values, func(v string) bool { return strings.EqualFold(v, "true") == !there })
	}
	positive, negated := c.base()
	// one is whether a single value of the request is as the condition says.
	one := func(v string) bool {
		some := slices.ContainsFunc(c.Values, func(want string) bool { return compare(positive, v, want, version, r) })
		return some != negated
	}
	switch {
	case c.ForAll:
		for _, v := range have {
			if !one(v) {
				return false
			}
		}
		return true // nothing there: nothing is wrong
	case c.ForAny:
		if !there && c.IfExists {
			return true
		}
		return slices.ContainsFunc(have, one)
	case !there:
		return c.IfExists || negated
	case negated:
		for _, v := range have {
			if !one(v) {
				return false
			}
		}
		return true
	}
	return slices.ContainsFunc(have, one)
}

// base is the operator without its Not.
func (c Condition) base() (positive string, negated bool) {
	if rest, ok := strings.CutPrefix(c.Operator, "Not"); ok {
		return rest, true
	}
	if i := strings.Index(c.Operator, "Not"); i > 0 {
		return c.Operator[:i] + c.Operator[i+3:], true
	}
	return c.Operator, false
}

func compare(op, have, want, version string, r *Request) bool {
	switch kind, order, _ := cut(op); kind {
	case "Numeric":
		a, ok := number(have)
		b, ok2 := number(want)
		return ok && ok2 && ordered(order, cmpFloat(a, b))
	case "Date":
		a, ok := date(have)
		b, ok2 := date(want)
		return ok && ok2 && ordered(order, a.Compare(b))
	}
	switch op {
	case "Bool":
		return strings.EqualFold(have, want)
	case "BinaryEquals":
		return have == want
	case "IpAddress":
		a, err := netip.ParseAddr(have)
		p, ok := network(want)
		return err == nil && ok && p.Contains(a.Unmap())
	}
	g, ok := expand(want, version, r.variable)
	if !ok {
		return false
	}
	switch op {
	case "StringLike":
		return g.match(have)
	case "ArnEquals", "ArnLike":
		return g.matchARN(have)
	case "StringEqualsIgnoreCase":
		return strings.EqualFold(g.plain(), have)
	}
	return g.plain() == have
}

// plain is the pattern as text: for operators without wildcards.
func (g glob) plain() string {
	var b strings.Builder
	for _, s := range g {
		if s.wild != 0 {
			b.WriteByte(s.wild)
		} else {
			b.WriteRune(s.c)
		}
	}
	return b.String()
}

func cut(op string) (kind, order string, ok bool) {
	for _, kind := range []string{"Numeric", "Date"} {
		if rest, ok := strings.CutPrefix(op, kind); ok {
			return kind, rest, true
		}
	}
	return "", "", false
}

func cmpFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func ordered(order string, c int) bool {
	switch order {
	case "LessThan":
		return c < 0
	case "LessThanEquals":
		return c <= 0
	case "GreaterThan":
		return c > 0
	case "GreaterThanEquals":
		return c >= 0
	}
	return c == 0
}
