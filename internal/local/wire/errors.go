package wire

import (
	"fmt"
	"net/http"
)

// Error is an error of a service that its client sees.
type Error struct {
	Code    string         // the exception's name in the model, or a code that AWS uses without modelling it
	Message string         // for people
	Status  int            // HTTP status; 0: the model's, else 400
	Fields  map[string]any // further members of a JSON or CBOR exception, by wire name
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf makes an Error with the formatted message.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// shown is an error as one service shows it.
type shown struct {
	name, code string // exception name, query error code
	status     int
	message    string
	upper      bool
	fields     map[string]any
}

func (m *Model) show(e *Error) shown {
	s := shown{name: e.Code, code: e.Code, status: e.Status, message: e.Message, fields: e.Fields}
	shape, ok := m.errors[e.Code]
	if !ok {
		// Handlers may use the query code of a modelled exception.
		for name, es := range m.errors {
			if es.code == e.Code {
				s.name, shape, ok = name, es, true
				break
			}
		}
	}
	if ok {
		if shape.code != "" {
			s.code = shape.code
		}
		if s.status == 0 {
			s.status = shape.status
		}
		s.upper = shape.upper
	}
	if s.status == 0 {
		s.status = http.StatusBadRequest
	}
	return s
}

func (s shown) sender() bool { return s.status < 500 }
