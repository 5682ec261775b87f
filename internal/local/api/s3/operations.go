package s3

import (
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// works are the operations that do what they say.
const works = `AbortMultipartUpload CompleteMultipartUpload CopyObject CreateBucket CreateMultipartUpload DeleteBucket
	DeleteBucketPolicy DeleteBucketTagging DeleteObject DeleteObjects DeleteObjectTagging GetBucketAcl GetBucketLocation GetBucketPolicy
	GetBucketTagging GetBucketVersioning GetObject GetObjectAcl GetObjectTagging HeadBucket HeadObject ListBuckets ListMultipartUploads
	ListObjectVersions ListObjects ListObjectsV2 ListParts PutBucketPolicy PutBucketTagging PutBucketVersioning PutObject
	PutObjectTagging UploadPart UploadPartCopy`

// recorded are those that keep a configuration which nothing here acts on.
const recorded = `DeleteBucketCors DeleteBucketEncryption DeleteBucketLifecycle DeleteBucketOwnershipControls DeleteBucketReplication
	DeleteBucketWebsite DeletePublicAccessBlock GetBucketAccelerateConfiguration GetBucketCors GetBucketEncryption
	GetBucketLifecycleConfiguration GetBucketLogging GetBucketNotificationConfiguration GetBucketOwnershipControls GetBucketReplication
	GetBucketRequestPayment GetBucketWebsite GetObjectLockConfiguration GetPublicAccessBlock PutBucketAccelerateConfiguration
	PutBucketCors PutBucketEncryption PutBucketLifecycleConfiguration PutBucketLogging PutBucketNotificationConfiguration
	PutBucketOwnershipControls PutBucketReplication PutBucketRequestPayment PutBucketWebsite PutObjectLockConfiguration PutPublicAccessBlock`

// handle adds the operations. Those of S3 that are missing answer NotImplemented.
func (s *Service) handle(svc *wire.Service) {
	for op := range strings.FieldsSeq(works) {
		wire.HandleHTTP(svc, op, s)
	}
	for op := range strings.FieldsSeq(recorded) {
		wire.HandleHTTP(svc, op, s, wire.Partly("the configuration is kept and shown, and changes nothing"))
	}
	for _, op := range []string{"PutBucketAcl", "PutObjectAcl"} {
		wire.HandleHTTP(svc, op, s, wire.Partly("refused, as by buckets without ACLs, which new buckets are"))
	}
}

// Policy is a bucket's policy; empty if it has none.
func (s *Service) Policy(bucket string) (document string) {
	_ = s.db.View(func(tx *state.Tx) error {
		if b, ok := s.buckets.Get(tx, bucket); ok {
			document = b.Configs["policy"]
		}
		return nil
	})
	return document
}
