package s3

import (
	"bytes"
	"encoding/xml"
)

// messages are what S3 says of errors that gofakes3 gives a code alone.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
var messages = map[string]string{
	"BadDigest":            "The Content-MD5 or checksum value that you specified did not match what the server received.",
	"BucketAlreadyExists":  "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.",
	"BucketNotEmpty":       "The bucket you tried to delete is not empty",
	"IncompleteBody":       "You did not provide the number of bytes specified by the Content-Length HTTP header.",
	"InvalidBucketName":    "The specified bucket is not valid.",
	"InvalidDigest":        "The Content-MD5 or checksum value that you specified is not valid.",
	"InvalidPart":          "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag.",
	"InvalidPartOrder":     "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
	"InvalidRange":         "The requested range is not satisfiable",
	"KeyTooLongError":      "Your key is too long.",
	"MetadataTooLarge":     "Your metadata headers exceed the maximum allowed metadata size.",
	"MethodNotAllowed":     "The specified method is not allowed against this resource.",
	"MissingContentLength": "You must provide the Content-Length HTTP header.",
	"NoSuchBucket":         "The specified bucket does not exist",
	"NoSuchKey":            "The specified key does not exist.",
	"NoSuchUpload":         "The specified multipart upload does not exist. The upload ID might be invalid, or the multipart upload might have been aborted or completed.",
	"NoSuchVersion":        "The version ID specified in the request does not match an existing version.",
	"NotImplemented":       "A header that you provided implies functionality that is not implemented.",
}

// explained is an error's body with a message: clients print that and nothing else.
func explained(body []byte) []byte {
	var e struct {
		XMLName       xml.Name `xml:"Error"`
		Code, Message string
	}
	if xml.Unmarshal(body, &e) != nil || e.Message != "" && e.Message != e.Code || messages[e.Code] == "" {
		return body
	}
	text := "<Message>" + messages[e.Code] + "</Message>"
	if old := "<Message>" + e.Code + "</Message>"; bytes.Contains(body, []byte(old)) {
		return bytes.Replace(body, []byte(old), []byte(text), 1)
	}
	return bytes.Replace(body, []byte("</Code>"), []byte("</Code>"+text), 1)
}
