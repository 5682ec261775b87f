// Job counts the words of its input and ends: 0 when it is done, 1 when it is not.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	text := os.Getenv("TEXT")
	if len(os.Args) > 1 {
		text = strings.Join(os.Args[1:], " ")
	}
	if strings.TrimSpace(text) == "" {
		fmt.Fprintln(os.Stderr, "error: there is nothing to count: set TEXT or give the text as arguments")
		os.Exit(1)
	}
	started := time.Now()
	counts := map[string]int{}
	for _, word := range strings.Fields(text) {
		counts[strings.ToLower(word)]++
	}
	fmt.Printf("%d words, %d of them different, in %s\n", len(strings.Fields(text)), len(counts), time.Since(started).Round(time.Microsecond))
}
