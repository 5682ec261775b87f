package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/release"
)

func newImagesListCommand() *cobra.Command {
	var f stockFlags
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List a repository's images with their sizes and who uses them",
		Args:    cobra.NoArgs,
		Example: "  slipway images ls --repository iplookup",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.open(cmd.Context())
			if err != nil {
				return err
			}
			list, err := s.holdings(cmd.Context())
			if err != nil {
				return err
			}
			if !all {
				list = slices.DeleteFunc(list, func(h holding) bool { return h.Subject != "" })
			}
			if asJSON {
				out := []holdingJSON{}
				for _, h := range list {
					out = append(out, h.json())
				}
				return writeJSON(cmd.OutOrStdout(), map[string]any{"repository": s.uri, "images": out})
			}
			return printHoldings(cmd.OutOrStdout(), list)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "with what is stored beside images: statements, signatures, SBOMs")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// holdingJSON is an image in JSON output; names follow DescribeImages where it has them.
type holdingJSON struct {
	ImageDigest   string    `json:"imageDigest"`
	ImageTags     []string  `json:"imageTags"`
	ImagePushedAt time.Time `json:"imagePushedAt"`
	SizeInBytes   int64     `json:"imageSizeInBytes"`
	ArtifactType  string    `json:"artifactType,omitempty"`
	Subject       string    `json:"subjectManifestDigest,omitempty"`
	Manifests     []string  `json:"manifests,omitempty"`
	StorageClass  string    `json:"storageClass"`
	UsedBy        []string  `json:"usedBy"`
}

func (h holding) json() holdingJSON {
	return holdingJSON{ImageDigest: h.Digest, ImageTags: append([]string{}, h.Tags...), ImagePushedAt: h.PushedAt, SizeInBytes: h.Size, ArtifactType: h.ArtifactType,
		Subject: h.Subject, Manifests: h.Manifests, StorageClass: string(h.StorageClass), UsedBy: append([]string{}, h.By...)}
}

func printHoldings(w io.Writer, list []holding) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "DIGEST\tTAGS\tPUSHED\tSIZE\tWHAT\tUSED BY")
	for _, h := range list {
		tags, by := strings.Join(h.Tags, ","), strings.Join(h.By, "; ")
		if tags == "" {
			tags = "-"
		}
		if by == "" {
			by = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", shortDigest(h.Digest), tags, h.PushedAt.Local().Format(time.DateTime), megabytes(h.Size), h.kind(), by)
	}
	return tw.Flush()
}

func megabytes(n int64) string {
	if n < 1e6 {
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// usage is how the bytes of a repository divide.
type usage struct {
	Images int   `json:"images"`
	Stored int64 `json:"storedBytes"` // each part once: what is paid for
	Summed int64 `json:"summedBytes"` // what the images would take if they shared nothing
	InUse  int64 `json:"inUseBytes"`  // parts of images that are in use
	Each   []own `json:"each"`
}

type own struct {
	ImageDigest string   `json:"imageDigest"`
	ImageTags   []string `json:"imageTags"`
	Size        int64    `json:"bytes"`
	Alone       int64    `json:"ownBytes"` // parts no other image has: what deleting it frees
	Shared      int64    `json:"sharedBytes"`
	InUse       bool     `json:"inUse"`
}

// measure counts each part once over all images.
func measure(list []holding) usage {
	type part struct {
		size   int64
		images int
		needed bool
	}
	parts := map[string]*part{}
	distinct := func(h holding) map[string]int64 {
		out := map[string]int64{}
		for _, l := range h.Layers {
			out[l.Digest] = l.Size
		}
		return out
	}
	for _, h := range list {
		for d, size := range distinct(h) {
			p := parts[d]
			if p == nil {
				p = &part{size: size}
				parts[d] = p
			}
			p.images++
			p.needed = p.needed || len(h.By) > 0
		}
	}
	u := usage{Images: len(list), Each: []own{}}
	for _, p := range parts {
		u.Stored += p.size
		if p.needed {
			u.InUse += p.size
		}
	}
	for _, h := range list {
		o := own{ImageDigest: h.Digest, ImageTags: append([]string{}, h.Tags...), InUse: len(h.By) > 0}
		for d, size := range distinct(h) {
			o.Size += size
			if parts[d].images > 1 {
				o.Shared += size
			} else {
				o.Alone += size
			}
		}
		u.Summed += o.Size
		u.Each = append(u.Each, o)
	}
	slices.SortStableFunc(u.Each, func(a, b own) int { return int(min(max(b.Alone-a.Alone, -1), 1)) })
	return u
}

func newImagesUsageCommand() *cobra.Command {
	var f stockFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "du",
		Short: "Show what a repository's images take, and what they share",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.open(cmd.Context())
			if err != nil {
				return err
			}
			list, err := s.holdings(cmd.Context())
			if err != nil {
				return err
			}
			u := measure(list)
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), u)
			}
			w := cmd.OutOrStdout()
			tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(tw, "DIGEST\tTAGS\tSIZE\tITS OWN\tSHARED\tIN USE")
			for _, o := range u.Each {
				if o.Size == 0 {
					continue // a list: its size is that of what it holds
				}
				tags, used := strings.Join(o.ImageTags, ","), "-"
				if tags == "" {
					tags = "-"
				}
				if o.InUse {
					used = "yes"
				}
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", shortDigest(o.ImageDigest), tags, megabytes(o.Size), megabytes(o.Alone), megabytes(o.Shared), used)
			}
			if err := tw.Flush(); err != nil {
				return err
			}
			_, err = fmt.Fprintf(w, "%d images take %s, of which %s are in use; without shared layers they would take %s\n", u.Images, megabytes(u.Stored), megabytes(u.InUse), megabytes(u.Summed))
			return err
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newImagesShowCommand() *cobra.Command {
	var f stockFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show REF",
		Short: "Show one image: tags, labels, who uses it, and what the ledger says of it",
		Args:  cobra.ExactArgs(1),
		Example: `  slipway image show latest
  slipway image show sha256:1f3c9a --repository iplookup`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if ref, err := image.ParseReference(args[0]); err == nil && ref.Registry != "" && f.repository == "" {
				f.repository = ref.Repository
			}
			s, err := f.open(cmd.Context())
			if err != nil {
				return err
			}
			all, err := s.holdings(cmd.Context())
			if err != nil {
				return err
			}
			h, err := find(all, args[0])
			if err != nil {
				return err
			}
			info, err := s.registry.Describe(cmd.Context(), s.uri+"@"+h.Digest)
			if err != nil {
				return err
			}
			statements, err := s.ledger.Read(cmd.Context(), s.uri, info.Digest)
			if err != nil {
				return err
			}
			if asJSON {
				if statements == nil {
					statements = []release.Statement{}
				}
				return writeJSON(cmd.OutOrStdout(), map[string]any{"image": h.json(), "reference": s.uri + "@" + h.Digest, "mediaType": info.MediaType,
					"labels": info.Labels, "platforms": info.Platforms, "statements": statements})
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "%s@%s\n", s.uri, h.Digest)
			fmt.Fprintf(w, "  tags      %s\n  pushed    %s\n  size      %s\n", strings.Join(h.Tags, ", "), h.PushedAt.Local().Format(time.DateTime), megabytes(info.Size))
			if len(info.Platforms) > 0 {
				fmt.Fprintf(w, "  platforms %s\n", strings.Join(info.Platforms, ", "))
			}
			for _, k := range sortedLabels(info.Labels) {
				fmt.Fprintf(w, "  label     %s=%s\n", k, info.Labels[k])
			}
			for _, by := range h.By {
				fmt.Fprintf(w, "  used by   %s\n", by)
			}
			for _, st := range statements {
				what := string(st.Kind)
				if st.Environment != "" {
					what += " " + st.Environment
				}
				fmt.Fprintf(w, "  %s  %s %s by %s%s\n", st.At.Local().Format(time.DateTime), what, st.Outcome, st.By, signedBy(st))
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func sortedLabels(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
