package elbv2

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// logEvery is how often a log file is published.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html#access-log-file-format
const logEvery = 5 * time.Minute

// mostLines bounds what is kept of one log until it is published: with more, it is published sooner.
const mostLines = 50_000

// logKind is one of a load balancer's logs, as its attributes and files are named.
type logKind struct{ attribute, file, test string }

var (
	accessLog     = logKind{"access_logs.s3", "", "ELBAccessLogTestFile"}
	connectionLog = logKind{"connection_logs.s3", "conn_log.", "ELBConnectionLogTestFile"}
	logKinds      = []logKind{accessLog, connectionLog}
)

// wanted tells where a load balancer's log goes; false if it is not written.
func (k logKind) wanted(attributes map[string]string) (bucket, prefix string, ok bool) {
	return attributes[k.attribute+".bucket"], attributes[k.attribute+".prefix"], attributes[k.attribute+".enabled"] == "true"
}

// folder is where all the logs of an account are in a bucket.
func folder(prefix, account string) string {
	if prefix != "" {
		prefix = strings.TrimSuffix(prefix, "/") + "/"
	}
	return prefix + "AWSLogs/" + account + "/"
}

// logbook keeps the lines of logs until they are published.
type logbook struct {
	mu    sync.Mutex
	pages map[logPage][]string
	full  chan struct{}
}

type logPage struct {
	balancer string // ARN
	kind     logKind
}

// writer takes the lines of one log.
func (b *logbook) writer(balancer string, kind logKind) func(string) {
	page := logPage{balancer, kind}
	return func(line string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.pages == nil {
			b.pages = map[logPage][]string{}
		}
		b.pages[page] = append(b.pages[page], line)
		if len(b.pages[page]) >= mostLines {
			select {
			case b.full <- struct{}{}:
			default:
			}
		}
	}
}

func (b *logbook) take() map[logPage][]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.pages
	b.pages = nil
	return out
}

// logLines gives the data plane somewhere to write a log; nil if it is not wanted.
func (s *Service) logLines(arn string, lb *LoadBalancer, kind logKind) func(string) {
	if _, _, ok := kind.wanted(lb.Attributes); !ok || s.storage == nil {
		return nil
	}
	return s.logs.writer(arn, kind)
}

// publishLogs puts the logs into S3 until ctx ends, and what is left then.
func (s *Service) publishLogs(ctx context.Context) {
	defer s.writeLogs()
	for {
		wait, cancel := context.WithCancel(ctx)
		due := make(chan error, 1)
		go func() { due <- clock.Sleep(wait, s.clock, logEvery) }()
		select {
		case <-s.logs.full:
		case <-due:
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
		s.writeLogs()
	}
}

// writeLogs publishes the lines there are. A bucket that is gone loses them, as it does at AWS.
func (s *Service) writeLogs() {
	for page, lines := range s.logs.take() {
		var lb *LoadBalancer
		_ = s.db.View(func(tx *state.Tx) error {
			lb, _ = s.balancers.Get(tx, page.balancer)
			return nil
		})
		if lb == nil || s.storage == nil {
			continue // it was deleted meanwhile
		}
		bucket, prefix, ok := page.kind.wanted(lb.Attributes)
		if !ok {
			continue
		}
		var body bytes.Buffer
		z := gzip.NewWriter(&body)
		_, err := z.Write([]byte(strings.Join(lines, "\n") + "\n"))
		if err == nil {
			err = z.Close()
		}
		if err == nil {
			err = s.storage.Write(bucket, logName(page, prefix, lb.Address, s.now()), body.Bytes())
		}
		if err != nil {
			s.log.Warn("publishing the log of a load balancer", "balancer", page.balancer, "bucket", bucket, "error", err)
		}
	}
}

// logName is the key of a log file:
// prefix/AWSLogs/account/elasticloadbalancing/region/yyyy/mm/dd/account_elasticloadbalancing_region_app.name.id_end_ip_random.log.gz
func logName(page logPage, prefix, ip string, end time.Time) string {
	parts := strings.SplitN(page.balancer, ":", 6) // arn:aws:elasticloadbalancing:region:account:loadbalancer/app/name/id
	region, account := parts[3], parts[4]
	id := strings.ReplaceAll(strings.TrimPrefix(parts[5], "loadbalancer/"), "/", ".")
	end = end.UTC()
	return fmt.Sprintf("%selasticloadbalancing/%s/%s/%s%s_elasticloadbalancing_%s_%s_%s_%s_%s.log.gz", folder(prefix, account), region, end.Format("2006/01/02"),
		page.kind.file, account, region, id, end.Format("20060102T1504Z"), ip, strings.ToLower(rand.Text()[:8]))
}

// checkLogs checks where logs are to go, before anything is changed.
func (s *Service) checkLogs(attributes map[string]string) error {
	for _, k := range logKinds {
		bucket, prefix, ok := k.wanted(attributes)
		switch {
		case strings.Contains(prefix, "AWSLogs"):
			return wire.Errorf("InvalidConfigurationRequest", "The value of '%s.prefix' must not contain 'AWSLogs'", k.attribute)
		case !ok:
			continue
		case bucket == "":
			return wire.Errorf("InvalidConfigurationRequest", "The value of '%s.bucket' must be specified when '%[1]s.enabled' is true", k.attribute)
		case s.storage == nil:
			return wire.Errorf("InvalidConfigurationRequest", "not supported: there is no S3 here")
		}
		if there, err := s.storage.BucketExists(bucket); err != nil || !there {
			return wire.Errorf("InvalidConfigurationRequest", "Access Denied for bucket: %s. Please check S3bucket permission", bucket)
		}
	}
	return nil
}

// testLogs leaves the file in each bucket that shows that logs can be written.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html#verify-bucket-permissions
func (s *Service) testLogs(account string, was, is map[string]string) error {
	for _, k := range logKinds {
		bucket, prefix, ok := k.wanted(is)
		b, p, before := k.wanted(was)
		if !ok || before && b == bucket && p == prefix {
			continue
		}
		if err := s.storage.Write(bucket, folder(prefix, account)+k.test, []byte("Enable "+k.test+" for load balancer")); err != nil {
			return wire.Errorf("InvalidConfigurationRequest", "Access Denied for bucket: %s. Please check S3bucket permission", bucket)
		}
	}
	return nil
}
