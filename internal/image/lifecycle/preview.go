package lifecycle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// PolicyText is the policy in data: the text itself, or what `aws ecr get-lifecycle-policy` prints,
// which carries the text in lifecyclePolicyText.
func PolicyText(data []byte) string {
	var got struct {
		LifecyclePolicyText *string `json:"lifecyclePolicyText"`
	}
	if json.Unmarshal(data, &got) == nil && got.LifecyclePolicyText != nil {
		return *got.LifecyclePolicyText
	}
	return string(bytes.TrimSpace(data))
}

// imageDetail is an entry of imageDetails, as `aws ecr describe-images` prints it, with the members
// of later versions of the API and, for manifest lists, the digests they hold.
type imageDetail struct {
	ImageDigest           string   `json:"imageDigest"`
	ImageTags             []string `json:"imageTags"`
	ImagePushedAt         stamp    `json:"imagePushedAt"`
	LastRecordedPullTime  stamp    `json:"lastRecordedPullTime"`
	LastActivatedAt       stamp    `json:"lastActivatedAt"`
	LastArchivedAt        stamp    `json:"lastArchivedAt"`
	StorageClass          string   `json:"storageClass"`
	ImageStatus           string   `json:"imageStatus"`
	SubjectManifestDigest string   `json:"subjectManifestDigest"`
	Manifests             []string `json:"manifests"`
}

// DecodeImages reads what `aws ecr describe-images` prints, or a bare list of its entries. Times are
// RFC 3339 or seconds since 1970.
func DecodeImages(data []byte) ([]Image, error) {
	var details []imageDetail
	trimmed := bytes.TrimSpace(data)
	if len(trimmed) > 0 && trimmed[0] == '[' {
		if err := json.Unmarshal(trimmed, &details); err != nil {
			return nil, fmt.Errorf("reading the list of images: %w", err)
		}
	} else {
		var doc struct {
			ImageDetails *[]imageDetail `json:"imageDetails"`
		}
		if err := json.Unmarshal(trimmed, &doc); err != nil {
			return nil, fmt.Errorf("reading the images: %w", err)
		}
		if doc.ImageDetails == nil {
			return nil, fmt.Errorf("reading the images: no imageDetails; give what `aws ecr describe-images` prints, or a list of its entries")
		}
		details = *doc.ImageDetails
	}
	images := make([]Image, len(details))
	seen := make(map[string]bool, len(details))
	for i, d := range details {
		im, err := d.image()
		if err != nil {
			return nil, fmt.Errorf("reading image %d: %w", i+1, err)
		}
		if seen[im.Digest] {
			return nil, fmt.Errorf("reading image %d: %s is there twice", i+1, im.Digest)
		}
		seen[im.Digest] = true
		images[i] = im
	}
	return images, nil
}

func (d imageDetail) image() (Image, error) {
	im := Image{
		Digest: d.ImageDigest, Tags: d.ImageTags, PushedAt: d.ImagePushedAt.Time,
		LastPulledAt: d.LastRecordedPullTime.Time, LastActivatedAt: d.LastActivatedAt.Time,
		LastArchivedAt: d.LastArchivedAt.Time, Subject: d.SubjectManifestDigest, Manifests: d.Manifests,
	}
	if im.Digest == "" {
		return im, fmt.Errorf("has no imageDigest")
	}
	if im.PushedAt.IsZero() {
		return im, fmt.Errorf("%s has no imagePushedAt", im.Digest)
	}
	switch c := strings.ToLower(d.StorageClass); c {
	case "":
		switch strings.ToUpper(d.ImageStatus) {
		case "ARCHIVED":
			im.StorageClass = Archive
		case "ACTIVATING":
			im.StorageClass = Activating
		default:
			im.StorageClass = Standard
		}
	case string(Standard), string(Archive), string(Activating):
		im.StorageClass = StorageClass(c)
	default:
		return im, fmt.Errorf("%s: storageClass %q is neither standard nor archive", im.Digest, d.StorageClass)
	}
	return im, nil
}

// stamp is a time as the AWS CLI (RFC 3339) or the API itself (seconds) writes it.
type stamp struct{ time.Time }

// UnmarshalJSON reads either form; null is the zero time.
func (s *stamp) UnmarshalJSON(data []byte) error {
	text := string(data)
	if text == "null" {
		return nil
	}
	if unquoted, err := strconv.Unquote(text); err == nil {
		if unquoted == "" {
			return nil
		}
		t, err := parseTime(unquoted)
		s.Time = t
		return err
	}
	sec, err := strconv.ParseFloat(text, 64)
	// time.Time orders by nanoseconds since 1970 in 64 bits: years 1678 to 2262.
	if err != nil || math.Abs(sec) > 9.2e9 {
		return fmt.Errorf("%s is not a time: write RFC 3339 or seconds since 1970", text)
	}
	whole, frac := math.Modf(sec)
	s.Time = time.Unix(int64(whole), int64(math.Round(frac*1e6))*1e3).UTC()
	return nil
}

func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05Z07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	if sec, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(sec) <= 9.2e9 {
		return time.Unix(int64(sec), 0).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%q is not a time: write RFC 3339 or seconds since 1970", s)
}

// Preview is the JSON form of a Result.
type Preview struct {
	Expired      []PreviewMarked  `json:"expired"`
	Transitioned []PreviewMarked  `json:"transitioned"`
	Kept         []PreviewKept    `json:"kept"`
	Refused      []PreviewRefused `json:"refused"`
}

// PreviewMarked is an image a rule acts on.
type PreviewMarked struct {
	ImageDigest  string   `json:"imageDigest"`
	ImageTags    []string `json:"imageTags"`
	RulePriority int      `json:"rulePriority"`
}

// PreviewKept is an image no rule acts on.
type PreviewKept struct {
	ImageDigest string `json:"imageDigest"`
	Why         string `json:"why"`
}

// PreviewRefused is an image a rule marked and ECR would not touch.
type PreviewRefused struct {
	ImageDigest string `json:"imageDigest"`
	Code        string `json:"code"`
}

// Preview is the JSON form of the result; no list is nil. A referrer that follows its subject is
// not marked by any rule: it is among Kept, and its why says when it goes.
func (r Result) Preview() Preview {
	p := Preview{
		Expired: previewMarked(r.Expired), Transitioned: previewMarked(r.Transitioned),
		Kept: []PreviewKept{}, Refused: []PreviewRefused{},
	}
	for _, k := range r.Kept {
		p.Kept = append(p.Kept, PreviewKept{k.Image.Digest, k.Why()})
	}
	for _, c := range r.Cascaded {
		p.Kept = append(p.Kept, PreviewKept{c.Image.Digest, c.Why()})
	}
	for _, x := range r.Refused {
		p.Refused = append(p.Refused, PreviewRefused{x.Image.Digest, x.Code})
	}
	return p
}

// Why says what becomes of the referrer.
func (c Cascaded) Why() string {
	what := "is deleted"
	if c.Action == Transition {
		what = "is archived"
	}
	return fmt.Sprintf("no rule selects a referrer; it %s within 24 hours of its subject %s", what, c.Image.Subject)
}

func previewMarked(in []Marked) []PreviewMarked {
	out := make([]PreviewMarked, 0, len(in))
	for _, m := range in {
		tags := m.Image.Tags
		if tags == nil {
			tags = []string{}
		}
		out = append(out, PreviewMarked{m.Image.Digest, tags, m.RulePriority})
	}
	return out
}
