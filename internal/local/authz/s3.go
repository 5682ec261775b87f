package authz

import (
	"net/http"
	"net/url"
	"strings"
)

// objectActions are the actions of S3's operations where they are not called as the operation is.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
var objectActions = map[string]string{
	"ListBuckets": "ListAllMyBuckets", "HeadBucket": "ListBucket", "ListObjects": "ListBucket", "ListObjectsV2": "ListBucket",
	"ListObjectVersions": "ListBucketVersions", "ListMultipartUploads": "ListBucketMultipartUploads", "ListParts": "ListMultipartUploadParts",
	"HeadObject": "GetObject", "CopyObject": "PutObject", "UploadPart": "PutObject", "UploadPartCopy": "PutObject",
	"CreateMultipartUpload": "PutObject", "CompleteMultipartUpload": "PutObject", "DeleteObjects": "DeleteObject",
	"GetBucketCors": "GetBucketCORS", "PutBucketCors": "PutBucketCORS", "DeleteBucketCors": "PutBucketCORS",
	"GetBucketEncryption": "GetEncryptionConfiguration", "PutBucketEncryption": "PutEncryptionConfiguration", "DeleteBucketEncryption": "PutEncryptionConfiguration",
	"GetBucketLifecycleConfiguration": "GetLifecycleConfiguration", "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration", "DeleteBucketLifecycle": "PutLifecycleConfiguration",
	"GetBucketReplication": "GetReplicationConfiguration", "PutBucketReplication": "PutReplicationConfiguration", "DeleteBucketReplication": "PutReplicationConfiguration",
	"GetBucketNotificationConfiguration": "GetBucketNotification", "PutBucketNotificationConfiguration": "PutBucketNotification",
	"GetBucketAccelerateConfiguration": "GetAccelerateConfiguration", "PutBucketAccelerateConfiguration": "PutAccelerateConfiguration",
	"GetPublicAccessBlock": "GetBucketPublicAccessBlock", "PutPublicAccessBlock": "PutBucketPublicAccessBlock", "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
	"GetObjectLockConfiguration": "GetBucketObjectLockConfiguration", "PutObjectLockConfiguration": "PutBucketObjectLockConfiguration",
	"DeleteBucketTagging": "PutBucketTagging", "DeleteBucketOwnershipControls": "PutBucketOwnershipControls",
}

// bucketNeeds reads a request for S3; what several objects are deleted is in its body, which is left
// unread, so that it needs the right to delete all of the bucket's.
func bucketNeeds(p place, op string, in input) []Need {
	r, ok := in.v.Addr().Interface().(*http.Request)
	if !ok {
		return nil
	}
	q := r.URL.Query()
	action := objectActions[op]
	if action == "" {
		action = op
	}
	if q.Get("versionId") != "" {
		switch action {
		case "GetObject", "DeleteObject", "GetObjectTagging", "PutObjectTagging", "DeleteObjectTagging", "GetObjectAcl", "PutObjectAcl":
			action = strings.Replace(action, "Object", "ObjectVersion", 1)
		}
	}
	action = "s3:" + action
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if bucket == "" {
		return []Need{{Action: action, Resource: "*"}}
	}
	arn := func(path string) string { return "arn:" + p.partition + ":s3:::" + path }
	if key == "" {
		n := Need{Action: action, Resource: arn(bucket)}
		if op == "DeleteObjects" {
			n.Resource = arn(bucket + "/*")
		}
		for name, keyName := range map[string]string{"prefix": "s3:prefix", "delimiter": "s3:delimiter", "max-keys": "s3:max-keys"} {
			if q.Has(name) && strings.HasPrefix(op, "List") {
				if n.Context == nil {
					n.Context = map[string][]string{}
				}
				n.Context[keyName] = []string{q.Get(name)}
			}
		}
		return []Need{n}
	}
	needs := []Need{{Action: action, Resource: arn(bucket + "/" + key)}}
	if source := r.Header.Get("X-Amz-Copy-Source"); source != "" && (op == "CopyObject" || op == "UploadPartCopy") {
		source, version, _ := strings.Cut(source, "?versionId=")
		if path, err := url.PathUnescape(source); err == nil {
			source = path
		}
		read := "s3:GetObject"
		if version != "" {
			read = "s3:GetObjectVersion"
		}
		needs = append(needs, Need{Action: read, Resource: arn(strings.TrimPrefix(source, "/"))})
	}
	return needs
}
