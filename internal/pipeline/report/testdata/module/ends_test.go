package module

import "testing"

func TestPasses(t *testing.T) { t.Log("a passing test says this") }
func TestSkips(t *testing.T)  { t.Skip("not today") }
func TestFails(t *testing.T) {
	t.Run("inner", func(t *testing.T) { t.Error("six times nine") })
	t.Error("six times nine")
}
