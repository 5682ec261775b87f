package s3

import (
	"bufio"
	"crypto/sha1" // #nosec G505 -- one of S3's checksums
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/johannesboyne/gofakes3"
)

// checksums are the algorithms of the x-amz-checksum-… headers
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html).
var checksums = map[string]func() hash.Hash{
	"X-Amz-Checksum-Crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"X-Amz-Checksum-Crc32c":    func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
	"X-Amz-Checksum-Crc64nvme": func() hash.Hash { return crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5)) },
	"X-Amz-Checksum-Sha1":      sha1.New,
	"X-Amz-Checksum-Sha256":    sha256.New,
}

// body takes the body of a request out of the aws-chunked encoding and has it checked against the
// checksums sent with it.
func (s *Service) body(r *http.Request) error {
	sha := r.Header.Get("X-Amz-Content-Sha256")
	var trailer map[string]string
	if strings.HasPrefix(sha, "STREAMING-") {
		n, err := strconv.ParseInt(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
		if err != nil || n < 0 {
			return errors.New("x-amz-decoded-content-length is required with aws-chunked bodies")
		}
		trailer = map[string]string{}
		r.Body = closer{&chunks{in: bufio.NewReader(r.Body), trailer: trailer}, r.Body}
		r.ContentLength = n
		r.Header.Set("Content-Length", strconv.FormatInt(n, 10))
	} else if r.ContentLength >= 0 && (r.Method == http.MethodPut || r.Method == http.MethodPost) {
		r.Header.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	var encodings []string
	for e := range strings.SplitSeq(r.Header.Get("Content-Encoding"), ",") {
		if e = strings.TrimSpace(e); e != "" && e != "aws-chunked" {
			encodings = append(encodings, e)
		}
	}
	r.Header.Del("Content-Encoding")
	if len(encodings) > 0 {
		r.Header.Set("Content-Encoding", strings.Join(encodings, ","))
	}
	c := &checked{in: r.Body, sent: map[string]string{}, sums: map[string]hash.Hash{}, trailer: trailer}
	for h, algorithm := range checksums {
		if v := r.Header.Get(h); v != "" {
			c.sent[h], c.sums[h] = v, algorithm()
		} else if strings.EqualFold(r.Header.Get("X-Amz-Trailer"), h) && trailer != nil {
			c.sums[h] = algorithm()
		}
	}
	if b, err := hex.DecodeString(sha); err == nil && len(b) == sha256.Size && r.ContentLength > 0 {
		c.sent["X-Amz-Content-Sha256"], c.sums["X-Amz-Content-Sha256"] = base64.StdEncoding.EncodeToString(b), sha256.New()
	}
	if len(c.sums) > 0 && r.Method != http.MethodGet && r.Method != http.MethodHead && r.Body != nil {
		r.Body = closer{c, r.Body}
	}
	return nil
}

type closer struct {
	io.Reader
	io.Closer
}

// checked reads and, at the end, compares the checksums.
type checked struct {
	in      io.Reader
	sent    map[string]string // header → base64
	sums    map[string]hash.Hash
	trailer map[string]string // filled by the time in ends; nil: none
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	for _, h := range c.sums {
		_, _ = h.Write(p[:n]) // never fails
	}
	if err != io.EOF {
		return n, err
	}
	for name, h := range c.sums {
		want, ok := c.sent[name]
		if !ok {
			want = c.trailer[name]
		}
		if got := base64.StdEncoding.EncodeToString(h.Sum(nil)); got != want {
			if name == "X-Amz-Content-Sha256" {
				return n, gofakes3.ErrorMessage(gofakes3.ErrBadDigest, "The provided 'x-amz-content-sha256' header does not match what was computed.")
			}
			return n, gofakes3.ErrorMessagef(gofakes3.ErrBadDigest, "The %s you specified did not match the calculated checksum.", strings.ToUpper(strings.TrimPrefix(name, "X-Amz-Checksum-")))
		}
	}
	return n, io.EOF
}

// chunks decodes aws-chunked, signed or not, with or without a trailer
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html). The chunks' own signatures
// are not verified.
type chunks struct {
	in      *bufio.Reader
	left    int64
	begun   bool
	done    bool
	trailer map[string]string
}

const longestLine = 4096

func (c *chunks) line() (string, error) {
	text, err := c.in.ReadSlice('\n')
	if err != nil || len(text) > longestLine {
		return "", gofakes3.ErrIncompleteBody
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

func (c *chunks) Read(p []byte) (int, error) {
	for c.left == 0 {
		if c.done {
			return 0, io.EOF
		}
		if c.begun {
			if rest, err := c.line(); err != nil || rest != "" {
				return 0, gofakes3.ErrIncompleteBody
			}
		}
		c.begun = true
		head, err := c.line()
		if err != nil {
			return 0, err
		}
		size, _, _ := strings.Cut(head, ";")
		if c.left, err = strconv.ParseInt(size, 16, 64); err != nil || c.left < 0 {
			return 0, gofakes3.ErrorMessage(gofakes3.ErrIncompleteBody, fmt.Sprintf("%q is not the head of a chunk", head))
		}
		if c.left > 0 {
			break
		}
		c.done = true
		for { // the trailer ends with an empty line, or with the body
			text, err := c.line()
			if err != nil || text == "" {
				return 0, io.EOF
			}
			if k, v, ok := strings.Cut(text, ":"); ok {
				c.trailer[http.CanonicalHeaderKey(k)] = strings.TrimSpace(v)
			}
		}
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.in.Read(p)
	c.left -= int64(n)
	if err == io.EOF {
		err = gofakes3.ErrIncompleteBody
	}
	return n, err
}
