package provider

import "time"

// orphaned returns when the process has another parent than it had: Terraform was killed, and could not tell its
// providers to end.
func orphaned(parent func() int, every time.Duration) {
	for first := parent(); parent() == first; {
		time.Sleep(every)
	}
}
