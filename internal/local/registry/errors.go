package registry

import (
	"errors"
	"fmt"
	"net/http"

	"cuelabs.dev/go/oci/ociregistry"
)

// Error is an error a client of the registry sees; Code is ECR's exception.
type Error struct{ Code, Message string }

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func errorf(code, format string, args ...any) *Error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

// Codes of Error.
const (
	CodeRepositoryNotFound = "RepositoryNotFoundException"
	CodeRepositoryExists   = "RepositoryAlreadyExistsException"
	CodeRepositoryNotEmpty = "RepositoryNotEmptyException"
	CodeImageNotFound      = "ImageNotFoundException"
	CodeImageExists        = "ImageAlreadyExistsException"
	CodeTagExists          = "ImageTagAlreadyExistsException"
	CodeDigestMismatch     = "ImageDigestDoesNotMatchException"
	CodeLayersNotFound     = "LayersNotFoundException"
	CodeReferencedNotFound = "ReferencedImagesNotFoundException"
	CodeInvalidLayer       = "InvalidLayerException"
	CodeInvalidLayerPart   = "InvalidLayerPartException"
	CodeLayerExists        = "LayerAlreadyExistsException"
	CodeEmptyUpload        = "EmptyUploadException"
	CodeUploadNotFound     = "UploadNotFoundException"
	CodeInvalidParameter   = "InvalidParameterException"
	CodeLimitExceeded      = "LimitExceededException"
	CodeArchived           = "ImageArchivedException"
	CodeDenied             = "AccessDeniedException"
)

// ociErrors are the codes docker and its kin know. ECR's own codes go along in the message only.
var ociErrors = map[string]struct {
	code   string
	status int
}{
	CodeRepositoryNotFound: {"NAME_UNKNOWN", http.StatusNotFound},
	CodeImageNotFound:      {"MANIFEST_UNKNOWN", http.StatusNotFound},
	CodeArchived:           {"MANIFEST_UNKNOWN", http.StatusNotFound},
	CodeTagExists:          {"TAG_INVALID", http.StatusBadRequest},
	CodeLayersNotFound:     {"MANIFEST_BLOB_UNKNOWN", http.StatusNotFound},
	CodeReferencedNotFound: {"MANIFEST_BLOB_UNKNOWN", http.StatusNotFound},
	CodeInvalidParameter:   {"MANIFEST_INVALID", http.StatusBadRequest},
	CodeDigestMismatch:     {"DIGEST_INVALID", http.StatusBadRequest},
	CodeInvalidLayer:       {"DIGEST_INVALID", http.StatusBadRequest},
	CodeInvalidLayerPart:   {"RANGE_INVALID", http.StatusRequestedRangeNotSatisfiable},
	CodeUploadNotFound:     {"BLOB_UPLOAD_UNKNOWN", http.StatusNotFound},
	CodeLimitExceeded:      {"DENIED", http.StatusForbidden},
	CodeDenied:             {"DENIED", http.StatusForbidden},
	CodeUpstream:           {"UNKNOWN", http.StatusBadGateway},
}

// ociError is err as the OCI protocol tells it.
func ociError(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	shown, ok := ociErrors[e.Code]
	if !ok {
		return err
	}
	return ociregistry.NewHTTPError(ociregistry.NewError(e.Message, shown.code, nil), shown.status, nil, nil)
}
