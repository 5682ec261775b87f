package wire

import (
	"bufio"
	"fmt"
	"io"
	"slices"
)

// WriteReference writes, in Markdown, every operation of the models and how far the server supports
// it. The server must have all its handlers; services without any are listed as a whole.
func (s *Server) WriteReference(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, "| service | operations | works | partly | not supported |\n|---|---:|---:|---:|---:|\n")
	type count struct{ all, works, partly int }
	for _, id := range Services() {
		var n count
		for _, o := range s.support(id) {
			n.all++
			switch {
			case o.Handled && o.Partly == "":
				n.works++
			case o.Handled:
				n.partly++
			}
		}
		fmt.Fprintf(b, "| %s | %d | %d | %d | %d |\n", modelOf(id).Name, n.all, n.works, n.partly, n.all-n.works-n.partly)
	}
	for _, id := range Services() {
		ops := s.support(id)
		fmt.Fprintf(b, "\n## %s\n\n", modelOf(id).Name)
		if !slices.ContainsFunc(ops, func(o Support) bool { return o.Handled }) {
			fmt.Fprintf(b, "None of its %d operations is supported.\n", len(ops))
			continue
		}
		fmt.Fprint(b, "| operation | |\n|---|---|\n")
		for _, o := range ops {
			how := "not supported"
			if o.Handled {
				how = "works"
				if o.Partly != "" {
					how = "partly: " + o.Partly
				}
			}
			fmt.Fprintf(b, "| %s | %s |\n", o.Operation, how)
		}
	}
	return b.Flush()
}

func (s *Server) support(id string) []Support {
	if svc := s.services[id]; svc != nil {
		return svc.Operations()
	}
	return newService(id).Operations()
}
