package service

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/invopop/jsonschema"
)

// scalarValue is a type of the file with a form of its own.
type scalarValue interface {
	// parse reads what was written; number says that it was a plain number.
	parse(text string, number bool) error
}

// duration is "30s", "5m", "1h30m", "7d", or a number of seconds.
type duration time.Duration

func (d *duration) parse(text string, number bool) error {
	if number {
		s, err := strconv.ParseFloat(text, 64)
		*d = duration(s * float64(time.Second))
		return err
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil {
			*d = duration(time.Duration(n) * 24 * time.Hour)
			return nil
		}
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is not a duration; write 30s, 5m, 1h or a number of seconds", text)
	}
	*d = duration(v)
	return nil
}

func (duration) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$`, Examples: []any{"30s", "5m"}},
		{Type: "number", Minimum: "0", Description: "seconds"},
	}}
}

// mib is an amount of memory: a number of MiB, or "512MB", "1GB" (powers of two, as ECS counts).
type mib int

func (m *mib) parse(text string, number bool) error {
	unit, factor := strings.ToUpper(strings.ReplaceAll(text, " ", "")), 1.0
	for _, u := range []struct {
		suffix string
		mib    float64
	}{{"GIB", 1024}, {"MIB", 1}, {"GB", 1024}, {"MB", 1}, {"G", 1024}, {"M", 1}} {
		if rest, ok := strings.CutSuffix(unit, u.suffix); ok && !number {
			unit, factor = rest, u.mib
			break
		}
	}
	v, err := strconv.ParseFloat(unit, 64)
	if err != nil || v != v || v < 0 || v*factor > 1<<31 {
		return fmt.Errorf("%q is not an amount of memory; write 512 (MiB), 512MB or 1GB", text)
	}
	if v*factor != float64(int(v*factor)) {
		return fmt.Errorf("%q is not a whole number of MiB", text)
	}
	*m = mib(v * factor)
	return nil
}

func (mib) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "integer", Minimum: "0", Description: "MiB"},
		{Type: "string", Pattern: `^[0-9.]+ ?([Mm]|[Gg])(i?[Bb])?$`, Examples: []any{"512MB", "1GB"}},
	}}
}

// cpuUnits is an amount of processor: a number of CPU units (1024 = one vCPU) or "0.5 vCPU".
type cpuUnits int

func (c *cpuUnits) parse(text string, number bool) error {
	word := strings.ToLower(strings.ReplaceAll(text, " ", ""))
	if rest, ok := strings.CutSuffix(word, "vcpu"); ok {
		v, err := strconv.ParseFloat(rest, 64)
		if err == nil && v >= 0 && v <= 192 {
			*c = cpuUnits(v * 1024)
			return nil
		}
	}
	n, err := strconv.Atoi(word)
	if err != nil || n < 0 || n > 192*1024 {
		if f, ferr := strconv.ParseFloat(word, 64); ferr == nil && f > 0 && f < 64 {
			return fmt.Errorf("%s is not a number of CPU units; for a share of a processor write %d or \"%s vCPU\"", text, int(f*1024), text)
		}
		return fmt.Errorf("%q is not an amount of CPU; write 256 (units, 1024 = one vCPU) or \"0.25 vCPU\"", text)
	}
	*c = cpuUnits(n)
	return nil
}

func (cpuUnits) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "integer", Minimum: "0", Description: "CPU units; 1024 are one vCPU"},
		{Type: "string", Pattern: `^[0-9.]+ ?[vV]([cC][pP][uU])$`, Examples: []any{"0.25 vCPU"}},
	}}
}

// oneOrMore is a list that may be written without brackets if it has one entry.
type oneOrMore []string

func (oneOrMore) JSONSchema() *jsonschema.Schema {
	text := &jsonschema.Schema{Type: "string"}
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{text, {Type: "array", Items: text}}}
}

// command is a list of arguments, or one line for the shell.
type command []string

func (command) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "string", Description: "a line for /bin/sh -c"},
		{Type: "array", Items: &jsonschema.Schema{Type: "string"}},
	}}
}
