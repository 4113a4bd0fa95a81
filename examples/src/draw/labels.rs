use super::Area;

/// Labels after which no room is looked for far from a box: nobody reads them, and the search would take long.
const MANY: usize = 100;

/// Finds room for labels.
pub struct Labels {
    picture: Area,
    // What labels should not hide: the boxes and points.
    places: Vec<Area>,
    taken: Vec<Area>,
}

impl Labels {
    /// A picture with its boxes and points, without labels.
    pub fn new(picture: Area, places: Vec<Area>) -> Self {
        Self {
            picture,
            places,
            taken: Vec::new(),
        }
    }

    /// Puts a label of the size of `label` near `place`: inside the picture, on no other label where there is
    /// room and else on as little of one as can be, and on few lines of other boxes.
    ///
    /// A label that is larger than the picture begins at its corner.
    pub fn put(&mut self, label: Area, place: Area) -> Area {
        let beside = self.best(self.beside(label, place), place);
        let crowded = self.taken.len() >= MANY;
        let free = beside.filter(|found| crowded || self.covered(*found) == 0);
        let found = free
            .or_else(|| self.best(self.everywhere(label), place))
            .unwrap_or(label.at(self.picture.x0, self.picture.y0));
        self.taken.push(found);
        found
    }

    /// The candidate that covers least of other labels; of several, the one that hides least of other places
    /// and is nearest to its own.
    fn best(&self, candidates: impl Iterator<Item = Area>, place: Area) -> Option<Area> {
        let inside = candidates.filter(|label| self.picture.contains(*label));
        inside.min_by_key(|label| {
            let others = self.places.iter().filter(|other| **other != place);
            let hidden: i64 = others.map(|other| hidden(*label, *other)).sum();
            let away = i64::from((label.x0 - place.x0).abs())
                + 2 * i64::from((label.y0 + label.height() - place.y0).abs());
            (self.covered(*label), hidden + away)
        })
    }

    /// Pixels of other labels.
    fn covered(&self, label: Area) -> i64 {
        let taken = self.taken.iter();
        taken.map(|other| label.within(*other).pixels()).sum()
    }

    /// Above, inside and below a box, at its left and its right; then beside it.
    fn beside(&self, label: Area, place: Area) -> impl Iterator<Item = Area> + use<> {
        let picture = self.picture;
        let (width, height) = (label.width(), label.height());
        let columns = [place.x0, place.x1 - width];
        let rows = [place.y0 - height, place.y0, place.y1, place.y1 - height];
        let around = rows.into_iter().flat_map(move |y| columns.map(|x| (x, y)));
        let sides = [(place.x1, place.y0), (place.x0 - width, place.y0)];
        around.chain(sides).map(move |(x, y)| {
            let right = (picture.x1 - width).max(picture.x0);
            label.at(x.clamp(picture.x0, right), y)
        })
    }

    /// A grid over the whole picture, of a bounded number of places.
    fn everywhere(&self, label: Area) -> impl Iterator<Item = Area> + use<> {
        let picture = self.picture;
        let steps = |from: i32, to: i32, step: i32| {
            let step = step.max((to - from) / 64).max(1);
            let steps = (from..to.max(from)).step_by(step as usize);
            // The last one lies at the border.
            steps.chain([to.max(from)])
        };
        let (width, height) = (label.width(), label.height());
        steps(picture.y0, picture.y1 - height, height / 2).flat_map(move |y| {
            let columns = steps(picture.x0, picture.x1 - width, width / 2);
            columns.map(move |x| label.at(x, y))
        })
    }
}

/// How much a label hides of a box's outline, as the area near the outline that it covers.
fn hidden(label: Area, place: Area) -> i64 {
    let depth = label.height() / 4;
    let outline = label.within(place.grown(depth)).pixels();
    let middle = label.within(place.grown(-depth)).pixels();
    2 * (outline - middle) / i64::from(label.height().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: Area = Area {
        x0: 0,
        y0: 0,
        x1: 200,
        y1: 150,
    };

    fn place(x0: i32, y0: i32, x1: i32, y1: i32) -> Area {
        Area { x0, y0, x1, y1 }
    }

    fn put_all(places: &[Area], label: Area) -> Vec<Area> {
        let mut labels = Labels::new(PICTURE, places.to_vec());
        places
            .iter()
            .map(|place| labels.put(label, *place))
            .collect()
    }

    #[test]
    fn a_label_stands_on_its_box_or_in_it() {
        let label = Area::sized(50, 15);
        let above = put_all(&[place(20, 40, 120, 140)], label);
        assert_eq!(above, [label.at(20, 25)]);
        let no_room = put_all(&[place(20, 3, 120, 140)], label);
        assert_eq!(no_room, [label.at(20, 3)]);
        let at_the_right = put_all(&[place(190, 60, 200, 70)], label);
        assert_eq!(at_the_right, [label.at(150, 45)]);
    }

    #[test]
    fn labels_of_the_same_box_do_not_cover_one_another() {
        let label = Area::sized(50, 15);
        // 4 columns and 10 rows have room.
        let placed = put_all(&[place(60, 60, 140, 120); 20], label);
        for (index, one) in placed.iter().enumerate() {
            assert!(PICTURE.contains(*one));
            for other in &placed[..index] {
                assert!(one.within(*other).is_empty(), "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn without_room_labels_stay_inside() {
        for label in [Area::sized(199, 149), Area::sized(50, 15)] {
            for one in put_all(&[place(190, 140, 200, 150); 70], label) {
                assert!(PICTURE.contains(one), "{one:?}");
            }
        }
    }
}
