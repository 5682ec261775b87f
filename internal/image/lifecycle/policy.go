// Package lifecycle is the whole Amazon ECR lifecycle policy language: it parses and validates a
// policy, tells which images it expires, archives or leaves and why, and finds policies that cannot
// do what they say. It is pure: the present time and the images are arguments.
//
// Rules: https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html and
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html.
package lifecycle

// Limits of a policy.
const (
	MinTextLength   = 100    // characters
	MaxTextLength   = 30_720 // characters
	MaxRules        = 50
	MaxWildcards    = 4  // "*" in one pattern
	MinArchivedDays = 90 // before an archived image may be expired by a policy
	maxNumber       = 1<<31 - 1
)

// TagStatus says which images a rule looks at by their tags.
type TagStatus string

// The values of tagStatus.
const (
	Tagged   TagStatus = "tagged"
	Untagged TagStatus = "untagged"
	Any      TagStatus = "any"
)

// CountType says what a rule counts.
type CountType string

// The values of countType.
const (
	ImageCountMoreThan     CountType = "imageCountMoreThan"
	SinceImagePushed       CountType = "sinceImagePushed"
	SinceImagePulled       CountType = "sinceImagePulled"
	SinceImageTransitioned CountType = "sinceImageTransitioned"
)

// StorageClass is where an image is kept; the empty class is Standard.
type StorageClass string

// The storage classes. An image that is being restored is in neither and no rule selects it.
const (
	Standard   StorageClass = "standard"
	Archive    StorageClass = "archive"
	Activating StorageClass = "activating"
)

// ActionType is what happens to a marked image.
type ActionType string

// The values of action.type.
const (
	Expire     ActionType = "expire"
	Transition ActionType = "transition"
)

// Policy is a valid policy; its rules are in order of priority.
type Policy struct {
	Rules []Rule
}

// Rule is one rule of a policy.
type Rule struct {
	Priority    int // ≥ 1, unique; the lowest number is applied first
	Description string
	Selection   Selection
	Action      Action
}

// Selection says which images a rule matches and which of those it marks.
type Selection struct {
	TagStatus TagStatus
	// TagPrefixes or TagPatterns, never both, for Tagged: an image matches when every entry matches
	// one of its tags; the same tag may satisfy several.
	TagPrefixes  []string
	TagPatterns  []string
	StorageClass StorageClass // never empty
	CountType    CountType
	// CountNumber is images to keep (ImageCountMoreThan) or whole days (the others), ≥ 1.
	CountNumber int
}

// Action is what a rule does with the images it marks.
type Action struct {
	Type               ActionType
	TargetStorageClass StorageClass // Archive for Transition, otherwise empty
}

// Violation is one reason why a text is not a valid policy.
type Violation struct {
	// Rule is the rule's position in the text, from 1; 0 is the policy itself.
	Rule int
	// Priority is the rule's rulePriority where it has a usable one, otherwise 0.
	Priority int
	// Field is the path of the member, as selection.countUnit; empty for the whole rule or policy.
	Field   string
	Message string
}
