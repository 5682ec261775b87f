package s3

import (
	"io"
	"maps"
	"net/http"
	"net/url"

	"github.com/johannesboyne/gofakes3"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// absent is, by subresource of a bucket, the error where it was never put. Those with "" have a
// default, in defaults.
var absent = map[string]string{
	"policy": "NoSuchBucketPolicy", "tagging": "NoSuchTagSet", "lifecycle": "NoSuchLifecycleConfiguration", "cors": "NoSuchCORSConfiguration",
	"website": "NoSuchWebsiteConfiguration", "replication": "ReplicationConfigurationNotFoundError", "object-lock": "ObjectLockConfigurationNotFoundError",
	"encryption": "", "publicAccessBlock": "", "ownershipControls": "", "logging": "", "notification": "", "acl": "", "requestPayment": "", "accelerate": "",
}

const xmlns = `xmlns="http://s3.amazonaws.com/doc/2006-03-01/"`

// defaults are what new buckets have: encrypted by S3, closed to the public, without ACLs
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/create-bucket-faq.html).
var defaults = map[string]string{
	"encryption":        `<ServerSideEncryptionConfiguration ` + xmlns + `><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>`,
	"publicAccessBlock": `<PublicAccessBlockConfiguration ` + xmlns + `><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>`,
	"ownershipControls": `<OwnershipControls ` + xmlns + `><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>`,
	"logging":           `<BucketLoggingStatus ` + xmlns + `/>`,
	"notification":      `<NotificationConfiguration ` + xmlns + `/>`,
	"requestPayment":    `<RequestPaymentConfiguration ` + xmlns + `><Payer>BucketOwner</Payer></RequestPaymentConfiguration>`,
	"accelerate":        `<AccelerateConfiguration ` + xmlns + `/>`,
	"acl": `<AccessControlPolicy ` + xmlns + `><Owner><ID>75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a</ID><DisplayName>local</DisplayName></Owner><AccessControlList><Grant>` +
		`<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a</ID><DisplayName>local</DisplayName></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>`,
}

// unknown are subresources we do not have; gofakes3 would take them for the bucket or object itself.
var unknown = []string{"analytics", "inventory", "metrics", "intelligent-tiering", "policyStatus", "torrent", "restore", "select", "legal-hold", "retention", "attributes",
	"metadataConfiguration", "metadataTable", "session", "rename", "abac"}

const largestConfig = 1 << 20 // bytes

// subresource keeps a bucket's or object's configuration and shows it; nothing here acts on it. It
// reports whether the request was about one.
func (s *Service) subresource(w http.ResponseWriter, r *http.Request, bucket, key string, q url.Values) bool {
	for _, name := range unknown {
		if q.Has(name) {
			fail(w, r, "NotImplemented", "not supported: "+name)
			return true
		}
	}
	if key != "" {
		if q.Has("tagging") || q.Has("acl") {
			s.objectConfig(w, r, bucket, key, q)
			return true
		}
		return false
	}
	for name, missing := range absent {
		if q.Has(name) {
			s.bucketConfig(w, r, bucket, name, missing)
			return true
		}
	}
	return false
}

func (s *Service) bucketConfig(w http.ResponseWriter, r *http.Request, bucket, name, missing string) {
	var b *Bucket
	_ = s.db.View(func(tx *state.Tx) error { b, _ = s.buckets.Get(tx, bucket); return nil })
	if b == nil {
		fail(w, r, "NoSuchBucket", "The specified bucket does not exist")
		return
	}
	switch r.Method {
	case http.MethodGet:
		text, ok := b.Configs[name]
		if !ok {
			text, ok = defaults[name]
		}
		if !ok {
			fail(w, r, missing, "The configuration does not exist: "+name)
			return
		}
		if w.Header().Set("Content-Type", "application/xml"); name == "policy" {
			w.Header().Set("Content-Type", "application/json")
		}
		_, _ = io.WriteString(w, text) // the client may have gone
	case http.MethodPut:
		text, err := io.ReadAll(io.LimitReader(r.Body, largestConfig))
		if err != nil {
			failWith(w, r, err)
			return
		}
		if name == "acl" && len(text) == 0 {
			fail(w, r, "AccessControlListNotSupported", "The bucket does not allow ACLs")
			return
		}
		s.configure(w, r, bucket, func(c map[string]string) { c[name] = string(text) }, http.StatusOK)
	case http.MethodDelete:
		s.configure(w, r, bucket, func(c map[string]string) { delete(c, name) }, http.StatusNoContent)
	default:
		fail(w, r, "MethodNotAllowed", "The specified method is not allowed against this resource.")
	}
}

func (s *Service) configure(w http.ResponseWriter, r *http.Request, bucket string, f func(map[string]string), status int) {
	err := s.db.Update(func(tx *state.Tx) error {
		if !s.buckets.Modify(tx, bucket, func(b *Bucket) {
			c := maps.Clone(b.Configs)
			if c == nil {
				c = map[string]string{}
			}
			f(c)
			b.Configs = c
		}) {
			return gofakes3.BucketNotFound(bucket)
		}
		return nil
	})
	if err != nil {
		failWith(w, r, err)
		return
	}
	w.WriteHeader(status)
}

func (s *Service) objectConfig(w http.ResponseWriter, r *http.Request, bucket, key string, q url.Values) {
	var text []byte
	if r.Method == http.MethodPut {
		var err error
		if text, err = io.ReadAll(io.LimitReader(r.Body, largestConfig)); err != nil {
			failWith(w, r, err)
			return
		}
	}
	var o *Object
	err := s.db.Update(func(tx *state.Tx) error {
		if o = s.find(tx, bucket, key, q.Get("versionId")); o == nil || o.Marker {
			return gofakes3.KeyNotFound(key)
		}
		if q.Has("tagging") && r.Method != http.MethodGet {
			s.objects.Modify(tx, objectKey(bucket, key, o.Seq), func(o *Object) { o.Tags = string(text) })
		}
		return nil
	})
	switch {
	case err != nil:
		failWith(w, r, err)
	case q.Has("acl") && r.Method == http.MethodGet:
		w.Header().Set("Content-Type", "application/xml")
		_, _ = io.WriteString(w, defaults["acl"]) // the client may have gone
	case q.Has("acl"):
		fail(w, r, "AccessControlListNotSupported", "The bucket does not allow ACLs")
	case r.Method == http.MethodGet:
		if w.Header().Set("Content-Type", "application/xml"); o.Tags == "" {
			_, _ = io.WriteString(w, `<Tagging `+xmlns+`><TagSet/></Tagging>`)
			return
		}
		_, _ = io.WriteString(w, o.Tags)
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusOK)
	}
}
