package local

import "io"

// WriteReference writes, as Markdown, every operation of the services and whether it works here.
func (l *Local) WriteReference(w io.Writer) error { return l.server.WriteReference(w) }
