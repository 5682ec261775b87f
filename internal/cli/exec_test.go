package cli

import (
	"slices"
	"testing"

	"github.com/slipway-ecs/slipway/internal/local/execsession"
)

// What the agent splits a line into is what was given.
func TestOneLine(t *testing.T) {
	for _, words := range [][]string{{"ls", "-l", "/data"}, {"sh", "-c", "echo 'a  b' \"c\" | wc -l; echo $HOME \\n"}, {"printf", "", "*", "ü x"}} {
		line := oneLine(words)
		if got, err := execsession.Split(line); err != nil || !slices.Equal(got, words) {
			t.Errorf("%s is %q (%v), want %q", line, got, err, words)
		}
	}
}
