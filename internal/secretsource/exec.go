package secretsource

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// execTimeout is how long a program may take: it may ask a person for a fingerprint.
const execTimeout = time.Minute

// Exec asks the program slipway-secret-NAME, found on the PATH, for a secret. It gets the
// arguments as they are and prints one JSON object: {"value": "…", "version": "…"}. The version
// must change when the value does. What it writes to stderr is shown when it fails.
func Exec(ctx context.Context, name string, args ...string) (Secret, error) {
	program := "slipway-secret-" + name
	file, err := exec.LookPath(program)
	if err != nil {
		return Secret{}, fmt.Errorf("exec:%s: there is no program %s on the PATH", name, program)
	}
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	var out, fault bytes.Buffer
	cmd := exec.CommandContext(ctx, file, args...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &fault, time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return Secret{}, fmt.Errorf("asking %s: %w: %s", program, err, lastLine(fault.String()))
	}
	var s struct {
		Value   *string `json:"value"`
		Version string  `json:"version"`
	}
	if err := json.Unmarshal(out.Bytes(), &s); err != nil { // the text may hold the secret: it is not repeated
		return Secret{}, fmt.Errorf(`asking %s: its output is not {"value": "…", "version": "…"}`, program)
	}
	switch {
	case s.Value == nil:
		err = errors.New("it gave no value")
	case s.Version == "":
		err = errors.New("it gave no version, so a changed secret could not be told from the old one")
	}
	if err != nil {
		return Secret{}, fmt.Errorf("asking %s: %w", program, err)
	}
	return Secret{Value: *s.Value, Version: s.Version}, nil
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
