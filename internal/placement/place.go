package placement

import (
	"cmp"
	"container/heap"
	"hash/fnv"
	"slices"
	"strings"
)

// Place chooses the instance for one task. If none fits, ok is false and the refusals say why, one
// an instance, in the order of the instances. The instances are not changed: Take books the task.
func Place(r *Request, instances []*Instance) (choice *Instance, refusals []Refusal, err error) {
	b, err := NewBatch(r, instances)
	if err != nil {
		return nil, nil, err
	}
	if i := b.next(); i != nil {
		return i, nil, nil
	}
	return nil, b.Refusals(), nil
}

// Batch places many equal tasks: after one look at all instances each task costs about log n.
//
// The strategies that lead with spread make a tree: under each value of the first field those of
// the second, and so on. A task goes down the tree to the value with the fewest tasks of its group
// that still has an instance with room, and at the leaf to the best instance by the other
// strategies.
type Batch struct {
	c         *compiled
	instances []*Instance
	spreads   int // leading spread strategies that make the tree

	byInstance bool // a spread over the instances follows
	scan       bool
	root       *bucket
}

// bucket is the instances that agree in the values of the spread fields so far.
type bucket struct {
	value    string
	tasks    int // of the request's group
	pos      int // in the parent's heap; -1: has no room left
	parent   *bucket
	byValue  map[string]*bucket
	children bucketHeap // with room
	leaf     *leaf
}

type leaf struct {
	b       *Batch
	fits    []*Instance
	asked   bool // for its best
	ordered bool // fits is a heap
}

// NewBatch looks at the instances. They must not change, but through the batch, while it is used.
func NewBatch(r *Request, instances []*Instance) (*Batch, error) {
	c, err := compile(r)
	if err != nil {
		return nil, err
	}
	b := &Batch{c: c, instances: instances}
	for b.spreads < len(c.strategies) && c.strategies[b.spreads].kind == 's' {
		if c.strategies[b.spreads].field == "" {
			// Each instance would be a bucket of its own: the leaf orders them as well, and nothing that comes
			// behind could tell them apart.
			c.strategies, b.byInstance = c.strategies[:b.spreads+1], true
			break
		}
		b.spreads++
	}
	for _, s := range c.strategies[b.spreads:] {
		b.scan = b.scan || s.kind == 's' && !b.byInstance // a spread behind a binpack only breaks ties: look at all
	}
	b.root = b.newBucket("", nil, 0)
	for _, i := range instances {
		at := b.root
		n := i.Groups[r.Group]
		at.tasks += n
		for d := range b.spreads {
			v := c.strategies[d].value(i)
			child, ok := at.byValue[v]
			if !ok {
				child = b.newBucket(v, at, d+1)
				at.byValue[v] = child
			}
			child.tasks += n
			at = child
		}
		if c.filter(i) == "" {
			if at.leaf.fits == nil {
				at.leaf.fits = make([]*Instance, 0, len(instances)/max(1, len(b.root.byValue)))
			}
			at.leaf.fits = append(at.leaf.fits, i)
		}
	}
	b.root.build()
	return b, nil
}

func (b *Batch) newBucket(value string, parent *bucket, depth int) *bucket {
	n := &bucket{value: value, parent: parent, pos: -1}
	if depth == b.spreads {
		n.leaf = &leaf{b: b}
	} else {
		n.byValue = map[string]*bucket{}
	}
	return n
}

// build makes the heaps, children before parents; it reports whether there is room below.
func (n *bucket) build() bool {
	if n.leaf != nil {
		return len(n.leaf.fits) > 0
	}
	for _, c := range n.byValue {
		if c.build() {
			c.pos = len(n.children)
			n.children = append(n.children, c)
		}
	}
	heap.Init(&n.children)
	return len(n.children) > 0
}

// next is the best instance for one more task, or nil.
func (b *Batch) next() *Instance {
	n := b.root
	for n.leaf == nil {
		if len(n.children) == 0 {
			return nil
		}
		n = n.children[0]
	}
	if len(n.leaf.fits) == 0 {
		return nil
	}
	return n.leaf.fits[n.leaf.best()]
}

// Fits reports whether an instance, of the batch or not, has room for one more task.
func (b *Batch) Fits(i *Instance) bool { return b.c.filter(i) == "" }

// Next chooses the instance for one more task and books the task on it; nil if none has room.
func (b *Batch) Next() *Instance {
	i := b.next()
	if i == nil {
		return nil
	}
	i.Take(b.c.req)
	n := b.root
	n.tasks++
	for n.leaf == nil {
		n = n.children[0]
		n.tasks++
	}
	n.leaf.changed(i, b.c.filter(i) == "")
	b.refresh(n)
	return i
}

// best is where the best of a leaf's instances is. A leaf is put in order when it is asked again: for one
// task, as most runs are, one look at all is less work.
func (l *leaf) best() int {
	if l.asked && !l.ordered && !l.b.scan {
		l.ordered = true
		heap.Init(l)
	}
	if l.ordered {
		return 0
	}
	l.asked = true
	at := 0
	for k := range l.fits {
		if k > 0 && l.compare(l.fits[k], l.fits[at]) < 0 {
			at = k
		}
	}
	return at
}

// changed puts an instance that took or gave back a task where it belongs, or takes it out.
func (l *leaf) changed(i *Instance, fits bool) {
	at := slices.Index(l.fits, i)
	switch {
	case at < 0:
	case !l.ordered && !fits:
		l.fits[at] = l.fits[len(l.fits)-1]
		l.fits = l.fits[:len(l.fits)-1]
	case !fits:
		heap.Remove(l, at)
	case l.ordered:
		heap.Fix(l, at)
	}
}

// Drop takes an instance out of the batch, after it turned out not to be usable: the task Next
// booked on it last is released.
func (b *Batch) Drop(i *Instance) {
	i.Release(b.c.req)
	n := b.root
	n.tasks--
	for d := 0; n.leaf == nil; d++ {
		n = n.byValue[b.c.strategies[d].value(i)]
		n.tasks--
	}
	n.leaf.changed(i, false)
	b.refresh(n)
}

// refresh puts the buckets from n up back in order.
func (b *Batch) refresh(n *bucket) {
	room := len(n.leaf.fits) > 0
	for p := n.parent; p != nil; n, p = p, p.parent {
		switch {
		case n.pos < 0: // had no room and cannot gain any
		case room:
			heap.Fix(&p.children, n.pos)
		default:
			heap.Remove(&p.children, n.pos)
		}
		room = len(p.children) > 0
	}
}

// Refusals says for each instance that has no room for one more task why not.
func (b *Batch) Refusals() []Refusal {
	var out []Refusal
	for _, i := range b.instances {
		if why := b.c.filter(i); why != "" {
			out = append(out, b.c.refusal(i, why))
		}
	}
	return out
}

// compare orders by the strategies behind the leading spreads, then by id: equal inputs give equal
// choices.
func (l *leaf) compare(x, y *Instance) int {
	for _, s := range l.b.c.strategies[l.b.spreads:] {
		var d int
		switch s.kind {
		case 'b':
			d = s.left(x) - s.left(y)
		case 'r':
			d = cmp.Compare(l.b.c.random(x), l.b.c.random(y))
		case 's':
			d = l.b.count(s, x) - l.b.count(s, y)
		}
		if d != 0 {
			return d
		}
	}
	return strings.Compare(x.ID, y.ID)
}

// count is the number of the group's tasks on instances with x's value of the field.
func (b *Batch) count(s strategy, x *Instance) (n int) {
	if s.field == "" {
		return x.Groups[b.c.req.Group]
	}
	v := s.value(x)
	for _, i := range b.instances {
		if s.value(i) == v {
			n += i.Groups[b.c.req.Group]
		}
	}
	return n
}

// random is a number for the instance that depends on the seed and on how many of the group's tasks
// it has, so that each task draws anew.
func (c *compiled) random(i *Instance) uint64 {
	h := fnv.New64a()
	var b [16]byte
	n := uint64(i.Groups[c.req.Group])
	for k := range 8 {
		b[k], b[8+k] = byte(c.req.Seed>>(8*k)), byte(n>>(8*k))
	}
	_, _ = h.Write(b[:])
	_, _ = h.Write([]byte(i.ID))
	return mix(h.Sum64())
}

// mix spreads the bits of a hash: names that differ in the last digit hash close to each other.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

func (l *leaf) Len() int           { return len(l.fits) }
func (l *leaf) Less(i, j int) bool { return l.compare(l.fits[i], l.fits[j]) < 0 }
func (l *leaf) Swap(i, j int)      { l.fits[i], l.fits[j] = l.fits[j], l.fits[i] }
func (l *leaf) Push(x any)         { l.fits = append(l.fits, x.(*Instance)) }
func (l *leaf) Pop() any {
	last := l.fits[len(l.fits)-1]
	l.fits = l.fits[:len(l.fits)-1]
	return last
}

type bucketHeap []*bucket

func (h bucketHeap) Len() int { return len(h) }
func (h bucketHeap) Less(i, j int) bool {
	if h[i].tasks != h[j].tasks {
		return h[i].tasks < h[j].tasks
	}
	return h[i].value < h[j].value
}
func (h bucketHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}
func (h *bucketHeap) Push(x any) {
	b := x.(*bucket)
	b.pos = len(*h)
	*h = append(*h, b)
}
func (h *bucketHeap) Pop() any {
	last := (*h)[len(*h)-1]
	last.pos = -1
	*h = (*h)[:len(*h)-1]
	return last
}
