package wire

import (
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
)

// restOperation finds the operation of a REST service by method and path, with the names in the path.
// A last name takes the rest of the path: ARNs have slashes.
func (m *Model) restOperation(method, escapedPath string) (op string, names map[string]string) {
	parts := strings.Split(strings.Trim(escapedPath, "/"), "/")
	for op, pattern := range m.paths {
		verb, path, _ := strings.Cut(pattern, " ")
		if verb != method {
			continue
		}
		want := strings.Split(strings.Trim(path, "/"), "/")
		if len(parts) < len(want) || len(parts) > len(want) && want[len(want)-1][0] != '{' {
			continue
		}
		names = map[string]string{}
		for i, w := range want {
			got := parts[i]
			if i == len(want)-1 {
				got = strings.Join(parts[i:], "/")
			}
			if w[0] != '{' {
				if w != got {
					names = nil
					break
				}
				continue
			}
			v, err := url.PathUnescape(got)
			if err != nil || v == "" {
				names = nil
				break
			}
			names[strings.Trim(w, "{+}")] = v
		}
		if names != nil {
			return op, names
		}
	}
	return "", nil
}

// decodeREST puts the body, the path's names and the query into the operation's input.
func decodeREST(body []byte, names map[string]string, query url.Values, in any) error {
	if err := decodeJSON(body, in); err != nil {
		return err
	}
	v := reflect.ValueOf(in).Elem()
	for i := range v.NumField() {
		for opt := range strings.SplitSeq(v.Type().Field(i).Tag.Get("aws"), ",") {
			where, name, _ := strings.Cut(opt, "=")
			var values []string
			switch where {
			case "uri":
				if text, ok := names[name]; ok {
					values = []string{text}
				}
			case "query":
				values = query[name]
			}
			if len(values) == 0 {
				continue
			}
			if err := setREST(v.Field(i), values); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func setREST(f reflect.Value, values []string) error {
	switch p := f.Addr().Interface().(type) {
	case **string:
		*p = &values[0]
	case *[]string:
		*p = values
	case **bool:
		b, err := strconv.ParseBool(values[0])
		if err != nil {
			return err
		}
		*p = &b
	case **int32:
		n, err := strconv.ParseInt(values[0], 10, 32)
		if err != nil {
			return err
		}
		*p = Ptr(int32(n))
	default:
		return fmt.Errorf("not supported: a %s in the path or query", f.Type())
	}
	return nil
}
